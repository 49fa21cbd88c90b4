// Products of Llama-3.2-1B's layers in Chromium: Assay's kernels beside onnxruntime-web's, same browser, adapter and shapes, in turns.
//   node bench.mjs KERNELS.json [ROUNDS]
// KERNELS.json is what `browser_kernels` prints. Prints Markdown; nothing here passes or fails, but a wrong product is an error.

import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { launch, open } from "../../browser/launch.mjs";

const [kernels, rounds = "5"] = process.argv.slice(2);
if (!kernels) throw new Error("usage: node bench.mjs KERNELS.json [ROUNDS]");
// Milliseconds that all rounds of one candidate may take.
const PATIENCE = 60_000;

const here = path.dirname(fileURLToPath(import.meta.url));
const TYPES = { ".html": "text/html", ".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm" };
const server = http.createServer((request, response) => {
  const file = path.join(here, path.normalize(decodeURIComponent(request.url.split("?")[0])));
  if (!file.startsWith(here) || !fs.existsSync(file) || !fs.statSync(file).isFile()) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { "content-type": TYPES[path.extname(file)] ?? "application/octet-stream" });
  fs.createReadStream(file).pipe(response);
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));

const browser = await launch();
try {
  const page = await open(browser);
  await page.goto(`http://127.0.0.1:${server.address().port}/page.html`);
  await page.waitForFunction("window.isReady", null, { timeout: 60_000 });
  const all = JSON.parse(fs.readFileSync(kernels, "utf8"));
  const groups = new Map();
  for (const product of all) {
    const key = `${product.shape}/${product.m}`;
    groups.set(key, [...(groups.get(key) ?? []), product]);
  }
  let head = false;
  for (const products of groups.values()) {
    const { shape, m, n, k } = products[0];
    // A product that takes an onnxruntime on a software adapter minutes tells no more than a smaller one.
    if (m * n * k > 2 ** 32) continue;
    const { name, out } = await page.evaluate((what) => window.measure(what), { products, rounds: Number(rounds), patience: PATIENCE });
    if (!head) {
      const version = JSON.parse(fs.readFileSync(path.join(here, "node_modules/onnxruntime-web/package.json"))).version;
      console.log(`onnxruntime-web ${version} (WebGPU), Chromium ${browser.version()}, ${name || "an adapter without a name"}, medians of ${rounds} rounds in turns\n`);
      console.log("| product | M | N | K | program | ms | GFLOP/s | onnxruntime-web's time over it |");
      console.log("|---|---|---|---|---|---|---|---|");
      head = true;
    }
    const peer = out.at(-1).ms;
    for (const { label, ms, runs } of out) {
      const few = runs < Number(rounds) ? ` (${runs} run)` : "";
      console.log(`| ${shape} | ${m} | ${n} | ${k} | ${label} | ${ms.toFixed(1)}${few} | ${((2 * m * n * k) / ms / 1e6).toFixed(2)} | ${(peer / ms).toFixed(1)} |`);
    }
  }
  if (page.faults.length > 0) throw new Error(page.faults.join("\n"));
} finally {
  await browser.close();
  server.close();
}
