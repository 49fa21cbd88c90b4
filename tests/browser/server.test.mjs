// The test server itself: other tests take its misbehaviour for granted.

import assert from "node:assert/strict";
import { promises as fs } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import { serve } from "./server.mjs";

let root;
let server;

before(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), "assay-server-"));
  await fs.writeFile(path.join(root, "digits.bin"), "0123456789");
  server = await serve({ root });
});

after(async () => {
  await server.close();
  await fs.rm(root, { recursive: true });
});

function ask(name, options) {
  return fetch(new URL(name, server.url), options);
}

test("files, pieces, and what is not there", async () => {
  assert.equal(await (await ask("digits.bin")).text(), "0123456789");
  const piece = async (range) => {
    const response = await ask("digits.bin", { headers: { range } });
    return [response.status, response.headers.get("content-range"), await response.text()];
  };
  assert.deepEqual(await piece("bytes=2-4"), [206, "bytes 2-4/10", "234"]);
  assert.deepEqual(await piece("bytes=7-"), [206, "bytes 7-9/10", "789"]);
  assert.deepEqual(await piece("bytes=-2"), [206, "bytes 8-9/10", "89"]);
  assert.deepEqual(await piece("bytes=10-"), [416, "bytes */10", ""]);
  assert.equal((await ask("nothing.bin")).status, 404);
  assert.equal((await ask("%2e%2e/%2e%2e/etc/hostname")).status, 404);
});

test("who may read", async () => {
  assert.equal((await ask("cors/digits.bin")).headers.get("access-control-allow-origin"), "*");
  assert.equal((await ask("nocors/digits.bin")).headers.get("access-control-allow-origin"), null);
  assert.equal((await ask("cors/digits.bin", { method: "OPTIONS" })).status, 204);
  assert.equal((await ask("nocors/digits.bin", { method: "OPTIONS" })).status, 403);
});

test("a dropped connection, no ranges, a trickle, compression", async () => {
  await assert.rejects(async () => (await ask("drop/digits.bin")).text());
  const whole = await ask("norange/digits.bin", { headers: { range: "bytes=2-4" } });
  assert.deepEqual([whole.status, await whole.text()], [200, "0123456789"]);
  const slow = await serve({ root, slow: 1, gzip: true });
  const started = performance.now();
  const response = await fetch(`${slow.url}slow/digits.bin`);
  assert.equal(response.headers.get("content-encoding"), "gzip");
  assert.equal(await response.text(), "0123456789");
  assert.ok(performance.now() - started > 400);
  await slow.close();
});

test("files larger than any disk here", async () => {
  const three = 3 * 2 ** 30;
  const head = await ask(`zeros/${three}/trace.bin`, { method: "HEAD" });
  assert.equal(head.headers.get("content-length"), String(three));
  const tail = await ask(`zeros/${three}/trace.bin`, { headers: { range: `bytes=${three - 4}-` } });
  assert.deepEqual([...new Uint8Array(await tail.arrayBuffer())], [0, 0, 0, 0]);
});
