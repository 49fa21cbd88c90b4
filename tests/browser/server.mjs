// A static server for tests: one folder as it is, and the ways in which the rest of the web misbehaves.
//
//   /NAME                the file, with Range
//   /cors/NAME           the same, and any origin may read it
//   /nocors/NAME         the same, and only this origin may; to be asked from another one
//   /drop/NAME           half of it, then the connection is cut
//   /slow/NAME           a trickle: `slow` bytes each 50 ms
//   /norange/NAME        whatever range is asked for, all of it comes, and any origin may read it
//   /zeros/COUNT/NAME    so many zero bytes, made as they are sent, with Range, and any origin may read them
//
// Paths above are relative to `root`; a prefix comes off first. Several servers make several origins.

import { createReadStream, promises as fs } from "node:fs";
import http from "node:http";
import path from "node:path";
import { pipeline, Readable } from "node:stream";
import { createGzip } from "node:zlib";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".wasm": "application/wasm",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".webmanifest": "application/manifest+json",
};
const PREFIX = /^\/(cors|nocors|drop|slow|norange)(?=\/)/;
const ZEROS = /^\/zeros\/(\d+)\//;

// Starts one; options:
//   root     the folder
//   base     serve it under this path, "/" unless told
//   port     a free one unless told
//   host     127.0.0.1 unless told
//   gzip     compress everything that is asked for with Accept-Encoding
//   types    replaces MIME types by extension
//   slow     bytes each 50 ms for /slow/
//   fault    (name) => "missing" | "drop" | "slow" | undefined: for the file's plain address
// Returns { url, port, requests, faults(fault), close() }; `requests` has "METHOD path" of each, and its range if any.
export async function serve({ root, base = "/", port = 0, host = "127.0.0.1", gzip = false, types = {}, slow = 20_000, fault }) {
  const requests = [];
  const sockets = new Set();
  const options = { root, base, gzip, types: { ...TYPES, ...types }, slow, fault };
  const server = http.createServer((request, response) => {
    const range = request.headers.range ? ` ${request.headers.range}` : "";
    requests.push(`${request.method} ${request.url}${range}`);
    answer(request, response, options).catch((err) => {
      if (!response.headersSent) response.writeHead(err.code === "ENOENT" || err.code === "EISDIR" ? 404 : 500);
      response.end();
    });
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise((resolve, reject) => server.on("error", reject).listen(port, host, resolve));
  const actual = server.address().port;
  return {
    url: `http://127.0.0.1:${actual}${base}`,
    port: actual,
    requests,
    root: (folder) => {
      options.root = folder;
    },
    faults: (next) => {
      options.fault = next;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(resolve);
        for (const socket of sockets) socket.destroy();
      }),
  };
}

async function answer(request, response, options) {
  let name = decodeURIComponent(new URL(request.url, "http://host").pathname);
  if (!name.startsWith(options.base)) return void response.writeHead(404).end();
  name = `/${name.slice(options.base.length)}`;
  const zeros = ZEROS.exec(name);
  if (zeros) return send(request, response, options, { length: Number(zeros[1]), type: "application/octet-stream", open: nothing, mode: "cors" });
  let mode = PREFIX.exec(name)?.[1];
  if (mode) name = name.slice(mode.length + 1);
  if (name.endsWith("/")) name += "index.html";
  const file = path.join(options.root, path.normalize(name));
  mode ??= options.fault?.(name.slice(1));
  if (mode === "missing") return void response.writeHead(404).end();
  const { size } = await fs.stat(file);
  const type = options.types[path.extname(file)] ?? "application/octet-stream";
  return send(request, response, options, {
    length: size,
    type,
    mode,
    open: (start, end) => createReadStream(file, { start, end: end - 1 }),
  });
}

function send(request, response, options, { length, type, open, mode }) {
  const headers = { "content-type": type, "accept-ranges": "bytes", "cache-control": "no-cache" };
  if (["cors", "norange", "drop", "slow"].includes(mode)) {
    headers["access-control-allow-origin"] = "*";
    headers["access-control-allow-headers"] = "range";
    headers["access-control-expose-headers"] = "content-range, content-length, accept-ranges";
  }
  if (request.method === "OPTIONS") return void response.writeHead(mode === "nocors" ? 403 : 204, headers).end();
  let [start, end, status] = [0, length, 200];
  const range = mode === "norange" ? null : /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "");
  if (mode === "norange") delete headers["accept-ranges"];
  if (range) {
    const [, from, to] = range;
    start = from === "" ? Math.max(0, length - Number(to)) : Number(from);
    end = from === "" || to === "" ? length : Math.min(length, Number(to) + 1);
    if (start >= end) {
      headers["content-range"] = `bytes */${length}`;
      return void response.writeHead(416, headers).end();
    }
    headers["content-range"] = `bytes ${start}-${end - 1}/${length}`;
    status = 206;
  }
  const zipped = options.gzip && !range && /gzip/.test(request.headers["accept-encoding"] ?? "");
  if (zipped) headers["content-encoding"] = "gzip";
  else headers["content-length"] = end - start;
  response.writeHead(status, headers);
  if (request.method === "HEAD" || start === end) return void response.end();
  if (mode === "drop") {
    const half = start + Math.max(1, Math.floor((end - start) / 2));
    const stream = open(start, half);
    stream.on("data", (chunk) => response.write(chunk));
    // What was written shall arrive before the connection is cut.
    stream.on("end", () => setTimeout(() => response.socket?.destroy(), 200));
    return;
  }
  const body = mode === "slow" ? trickle(open(start, end), options.slow) : open(start, end);
  pipeline(...[body, zipped && createGzip(), response].filter(Boolean), () => {});
}

function nothing(start, end) {
  const chunk = Buffer.alloc(1 << 20);
  let left = end - start;
  return new Readable({
    read() {
      const count = Math.min(left, chunk.length);
      left -= count;
      this.push(count === 0 ? null : chunk.subarray(0, count));
    },
  });
}

function trickle(stream, bytes) {
  async function* pieces() {
    for await (const chunk of stream) {
      for (let at = 0; at < chunk.length; at += bytes) {
        yield chunk.subarray(at, at + bytes);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }
  return Readable.from(pieces());
}
