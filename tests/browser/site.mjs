// Assembles the page's folder with a stub in place of the module, so that the page is tested without compiling Assay.

import { execFile } from "node:child_process";
import { promises as fs } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);

// The workspace.
export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

// How long the stub's module is: enough to be seen arriving.
const MODULE_BYTES = 3_000_000;

// What the stub does is told by `globalThis.stub`, and what was done with it is in there too.
const GLUE = `
const stub = (globalThis.stub ??= {});
stub.calls = [];
const note = (name, ...args) => stub.calls.push([name, ...args]);

export default async function init({ module_or_path }) {
  note("init", module_or_path instanceof WebAssembly.Module);
}

export class Page {
  async start(canvas) {
    if (stub.start) await stub.start(canvas);
    const context = canvas.getContext("2d");
    context.fillStyle = "#5ac8bd";
    context.fillRect(0, 0, canvas.width, canvas.height);
    canvas.addEventListener("drop", () => note("eframe saw a drop"));
    note("start", canvas.id);
  }
  has_panicked() { return stub.panic !== undefined; }
  panic_message() { return stub.panic; }
  offer_files(files, paths) { note("offer_files", files.map((file) => file.size), paths); }
  dragging(count) { note("dragging", count); }
  command(name) { note("command", name); }
  link(hash) { note("link", hash); }
  state() { return "{}"; }
  report() { return undefined; }
}

export async function worker_main() {
  await new Promise((resolve) => setTimeout(resolve, 100));
  globalThis.onmessage = ({ data }) => {
    if (data === "reject") Promise.reject(new Error("rejected in the worker"));
    else globalThis.postMessage("heard " + data);
  };
}
// VERSION
`;

// Writes it to `folder`; another `version` differs in glue and page.
export async function stubSite(folder, version = "1.0.0") {
  const glue = `${folder}.glue`;
  await fs.rm(glue, { recursive: true, force: true });
  await fs.mkdir(glue, { recursive: true });
  await fs.writeFile(path.join(glue, "assay.js"), GLUE.replace("VERSION", version));
  await fs.writeFile(path.join(glue, "assay.wasm"), emptyModule());
  await webtool("assemble", ROOT, glue, folder, version);
}

async function webtool(...args) {
  const program = process.env.ASSAY_WEBTOOL;
  if (program) return run(program, args);
  const target = process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target");
  return run(
    "cargo",
    ["run", "--quiet", "--locked", "--manifest-path", path.join(ROOT, "xtask/webtool/Cargo.toml"), "--", ...args],
    { env: { ...process.env, CARGO_TARGET_DIR: path.join(target, "webtool") } },
  );
}

// A module that is nothing but a section that nobody reads.
function emptyModule() {
  const name = Buffer.from("\u0003pad");
  const size = MODULE_BYTES - 8 - 1 - 4;
  const length = Buffer.from([(size & 127) | 128, ((size >> 7) & 127) | 128, ((size >> 14) & 127) | 128, size >> 21]);
  return Buffer.concat([Buffer.from("\0asm\u0001\0\0\0"), Buffer.from([0]), length, name, Buffer.alloc(size - name.length, 1)]);
}
