// Live provers for tests: `assay serve` itself, and one that stands before it and lies or fails in one place.

import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import { createInterface } from "node:readline";

// Starts `assay serve` with the demo model on a free port. Returns { url, close() }.
export async function honest(assay, ...args) {
  const child = spawn(assay, ["serve", "--adapter", "cpu", "--listen", "127.0.0.1:0", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  child.stderr.on("data", (piece) => (log += piece));
  const gone = once(child, "exit").then(([code]) => {
    throw new Error(`the prover ended with ${code}: ${log}`);
  });
  gone.catch(() => {});
  const [url] = await Promise.race([once(createInterface({ input: child.stdout }), "line"), gone]);
  return {
    url,
    close: async () => {
      if (child.exitCode !== null) return;
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    },
  };
}

// Stands before the prover at `url`. `lie` is one of
//   other-run       opens another run than the one that it gave a receipt for
//   other-token     streams another token than it commits to
//   stall-info, stall-run, stall-opening    falls silent there
// Returns { url, hungUp, close() }: `hungUp` counts requests that were given up while it was silent.
export async function dishonest(url, lie) {
  const prover = { url: "", hungUp: 0, close: null };
  let asked = null; // the last run's request
  const server = http.createServer(async (request, response) => {
    const body = await bytes(request);
    const route = `${request.method} ${request.url}`;
    const isRun = route === "POST /v1/runs";
    const isOpening = /^POST .*\/opening$/.test(route);
    if ((lie === "stall-info" && request.method === "GET") || (lie === "stall-opening" && isOpening)) {
      response.on("close", () => (prover.hungUp += 1));
      return;
    }
    if (isRun) asked = JSON.parse(body);
    let path = request.url;
    if (lie === "other-run" && isOpening) path = await another(url, asked, request.headers);
    const answer = await fetch(url + path, {
      method: request.method,
      headers: passed(request.headers),
      body: body.length > 0 ? body : undefined,
    });
    const headers = Object.fromEntries(answer.headers);
    // The body is written anew below.
    for (const name of ["transfer-encoding", "connection", "keep-alive", "content-length"]) delete headers[name];
    let sent = Buffer.from(await answer.arrayBuffer());
    if (lie === "other-token" && isRun) {
      sent = Buffer.from(sent.toString().replace(/\{"token":(\d+)\}/, (_, id) => `{"token":${Number(id) ^ 1}}`));
    }
    if (lie === "stall-run" && isRun) {
      response.on("close", () => (prover.hungUp += 1));
      response.writeHead(answer.status, headers);
      // All but the receipt.
      response.write(sent.subarray(0, sent.lastIndexOf('{"receipt"')));
      return;
    }
    if (answer.status !== 204) headers["content-length"] = sent.length;
    response.writeHead(answer.status, headers).end(sent);
  });
  const sockets = new Set();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  prover.url = `http://127.0.0.1:${server.address().port}`;
  prover.close = () =>
    new Promise((resolve) => {
      server.close(resolve);
      for (const socket of sockets) socket.destroy();
    });
  return prover;
}

async function bytes(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

// A browser's questions about CORS are answered by the prover behind.
function passed(headers) {
  const names = ["origin", "content-type", "authorization", "access-control-request-method", "access-control-request-headers"];
  return Object.fromEntries(names.filter((name) => headers[name]).map((name) => [name, headers[name]]));
}

// Where to have the same request with another prompt of the same length opened.
async function another(url, asked, headers) {
  const answer = await fetch(`${url}/v1/runs`, {
    method: "POST",
    headers: passed(headers),
    body: JSON.stringify({ ...asked, prompt: asked.prompt.map((id) => id ^ 1) }),
  });
  const lines = (await answer.text()).trim().split("\n");
  return `/v1/runs/${JSON.parse(lines.at(-1)).receipt.id}/opening`;
}
