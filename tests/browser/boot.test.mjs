// The page around the module, in real Chromium, with a stub for the module: every reason not to run, progress, offline use,
// panics, and files that reach the module. With ASSAY_SHOTS=DIR it keeps screenshots there, for people to look at.

import assert from "node:assert/strict";
import { promises as fs } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import { launch, open } from "./launch.mjs";
import { serve } from "./server.mjs";
import { ROOT, stubSite } from "./site.mjs";

const SHOTS = process.env.ASSAY_SHOTS;
const SIZES = { wide: { width: 1280, height: 800 }, narrow: { width: 390, height: 844 } };

let folder;
let site;
let newer;
let server;
let browser;

before(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), "assay-boot-"));
  site = path.join(folder, "site");
  newer = path.join(folder, "newer");
  await stubSite(site, "1.0.0");
  await stubSite(newer, "2.0.0");
  server = await serve({ root: site });
  browser = await launch({
    webgpu: false,
    args: [
      // Two names for this machine: plain http is insecure on the one, and the other is taken for secure but not for home.
      "--host-resolver-rules=MAP lan.test 127.0.0.1, MAP away.test 127.0.0.1",
      `--unsafely-treat-insecure-origin-as-secure=http://away.test:${server.port}`,
    ],
  });
});

after(async () => {
  await browser?.close();
  await server?.close();
  await fs.rm(folder, { recursive: true, force: true });
});

// --- what the tests share ---------------------------------------------------------------------------------------------------

// An adapter that satisfies the page; `limits` overrides some, `null` is no adapter. `gpu: "real"` below leaves the browser's.
function fakeGpu(limits) {
  const defaults = {
    maxStorageBuffersPerShaderStage: 8,
    maxComputeInvocationsPerWorkgroup: 256,
    maxComputeWorkgroupSizeX: 256,
    maxComputeWorkgroupStorageSize: 16384,
    maxStorageBufferBindingSize: 134217728,
  };
  const adapter = limits && { info: { vendor: "test", architecture: "stub" }, limits: { ...defaults, ...limits } };
  Object.defineProperty(Navigator.prototype, "gpu", {
    configurable: true,
    get: () => ({ requestAdapter: async () => adapter }),
  });
}

async function opened(address = "", { gpu = {}, init, ...options } = {}) {
  const page = await open(browser, options);
  if (gpu !== "real") await page.addInitScript(fakeGpu, gpu);
  if (init) await page.addInitScript(init);
  await page.goto(new URL(address, server.url).href);
  return page;
}

// As waitForFunction, which does not wait for what a promise comes to.
async function until(page, question, arg) {
  for (const deadline = Date.now() + 10_000; !(await page.evaluate(question, arg)); ) {
    assert.ok(Date.now() < deadline, `never: ${question}`);
    await page.waitForTimeout(50);
  }
}

async function running(page) {
  await page.waitForSelector("html[data-running]", { state: "attached" });
}

// The page says why it does not run: exactly this, as an alert, with the way out, and no error of its own.
async function explained(page, kind, heading) {
  await page.waitForSelector(`html[data-failed="${kind}"]`, { state: "attached" });
  assert.equal(await page.locator("#reason h1").textContent(), heading);
  assert.equal(await page.locator("#reason").getAttribute("role"), "alert");
  assert.ok(await page.locator("#reason h1").isVisible());
  assert.ok(await page.getByText("--adapter cpu").isVisible());
  assert.ok(!(await page.locator("#boot").isVisible()));
  assert.equal(await page.title(), `Assay: ${heading}`);
  await fits(page);
  await shots(page, kind);
}

// Nothing is cut off, wide or narrow.
async function fits(page) {
  const before = page.viewportSize();
  for (const size of Object.values(SIZES)) {
    await page.setViewportSize(size);
    const [content, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(content <= room, `${content} wide in ${room}`);
  }
  await page.setViewportSize(before);
}

async function shots(page, name) {
  if (!SHOTS) return;
  await fs.mkdir(SHOTS, { recursive: true });
  for (const [size, viewport] of Object.entries(SIZES)) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ["dark", "light"]) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: path.join(SHOTS, `${name}-${size}-${colorScheme}.png`) });
    }
  }
}

function calls(page, name) {
  return page.evaluate((name) => stub.calls.filter(([called]) => called === name).map(([, ...args]) => args), name);
}

async function called(page, name, count = 1) {
  await page.waitForFunction(([name, count]) => stub.calls.filter(([called]) => called === name).length >= count, [name, count]);
  return calls(page, name);
}

// --- starting ---------------------------------------------------------------------------------------------------------------

test("the module comes up and takes over", async () => {
  const page = await opened();
  await running(page);
  assert.deepEqual(await calls(page, "init"), [[true]]);
  assert.deepEqual(await calls(page, "start"), [["canvas"]]);
  assert.ok(!(await page.locator("#boot").isVisible()));
  assert.equal(await page.locator("canvas").getAttribute("role"), "application");
  assert.deepEqual(page.faults, []);
  const errors = page.said.filter((line) => line.startsWith("error") || line.startsWith("warning"));
  assert.deepEqual(errors, [], "the policy allows all that the page does");
  assert.ok(await page.evaluate(() => window.assay instanceof Object));
  await page.context().close();
});

test("it works under a path, and asks no other server for anything", async () => {
  const below = await serve({ root: site, base: "/some/where/" });
  const page = await open(browser);
  await page.addInitScript(fakeGpu, {});
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await page.goto(`${below.url}?trace=samples/honest.bin#layer=2`);
  await running(page);
  assert.ok(asked.length >= 4);
  assert.deepEqual(asked.filter((url) => !url.startsWith(below.url)), []);
  assert.ok(below.requests.every((line) => line.split(" ")[1].startsWith("/some/where/")));
  await page.context().close();
  await below.close();
});

test("a wrong type or a compressed download do not matter", async () => {
  const odd = await serve({ root: site, gzip: true, types: { ".wasm": "application/octet-stream" } });
  const page = await open(browser);
  await page.addInitScript(fakeGpu, {});
  await page.goto(odd.url);
  await running(page);
  await page.context().close();
  await odd.close();
});

test("progress is shown in bytes once a start takes longer", async () => {
  server.faults((name) => (name.endsWith(".wasm") ? "slow" : undefined));
  const page = await opened();
  await page.waitForFunction(() => document.getElementById("bar").value > 0);
  await page.waitForTimeout(600);
  const [value, max, words] = await page.evaluate(() => {
    const bar = document.getElementById("bar");
    return [bar.value, bar.max, document.getElementById("progress").innerText.trim()];
  });
  assert.equal(max, 3_000_000);
  assert.ok(value > 0 && value < max);
  assert.match(words, /^Loading \d\.\d of 3\.0 MB$/);
  assert.ok(await page.getByText("Nothing is uploaded").isVisible());
  await fits(page);
  await shots(page, "loading");
  server.faults();
  await page.context().close();
});

test("a start that hangs is not silent", async () => {
  const page = await open(browser);
  await page.clock.install();
  await page.addInitScript(fakeGpu, {});
  await page.addInitScript(() => (globalThis.stub = { start: () => new Promise(() => {}) }));
  await page.goto(server.url);
  await page.waitForFunction(() => globalThis.stub.calls?.length === 1);
  assert.ok(!(await page.locator("#hint").isVisible()));
  await page.clock.runFor(9000);
  assert.match(await page.locator("#hint").innerText(), /The GPU takes its time/);
  await fits(page);
  await shots(page, "hanging");
  await page.context().close();
});

test("the background is right from the first paint, and a choice persists", async () => {
  const [dark, light] = ["rgb(16, 20, 24)", "rgb(247, 248, 248)"];
  // What the first script leaves behind is what the first paint shows: nothing below the head is there yet.
  const init = () => {
    new MutationObserver((_, observer) => {
      if (!document.body) return;
      observer.disconnect();
      globalThis.first = getComputedStyle(document.body).backgroundColor;
    }).observe(document, { childList: true, subtree: true });
  };
  const page = await opened("", { init, colorScheme: "dark" });
  const first = () => page.evaluate(() => first);
  const becomes = (color) => page.waitForFunction((color) => getComputedStyle(document.body).backgroundColor === color, color);
  assert.equal(await first(), dark);
  await page.emulateMedia({ colorScheme: "light" });
  await becomes(light);
  await page.reload();
  assert.equal(await first(), light);
  await page.evaluate(() => assayTheme("dark"));
  await becomes(dark);
  await page.reload();
  assert.equal(await first(), dark);
  assert.equal(await page.evaluate(() => localStorage.getItem("assay-theme")), "dark");
  await page.evaluate(() => assayTheme("system"));
  await becomes(light);
  await page.evaluate(() => {
    localStorage.removeItem("assay-theme");
    localStorage.setItem("assay-settings", JSON.stringify({ theme: "dark" }));
  });
  await page.reload();
  assert.equal(await first(), dark, "the app's own settings count too");
  await page.context().close();
});

// --- why it cannot run ------------------------------------------------------------------------------------------------------

test("from disk", async () => {
  for (const file of [path.join(ROOT, "index.html"), path.join(site, "index.html")]) {
    const page = await open(browser);
    await page.goto(pathToFileURL(file).href);
    await explained(page, "unserved", "This page has to be served");
    await page.context().close();
  }
});

test("without JavaScript", async () => {
  const page = await open(browser, { javaScriptEnabled: false });
  await page.goto(server.url);
  assert.ok(await page.locator(".noscript").isVisible());
  assert.ok(!(await page.locator("#progress").isVisible()));
  await shots(page, "noscript");
  await page.context().close();
});

test("a browser without modules", async () => {
  const page = await opened("", { init: () => delete HTMLScriptElement.prototype.noModule });
  await explained(page, "old-browser", "This browser is too old");
  await page.context().close();
});

test("a browser without WebAssembly", async () => {
  const page = await opened("", { init: () => delete globalThis.WebAssembly });
  await explained(page, "no-wasm", "WebAssembly is switched off");
  await page.context().close();
});

test("plain http from another machine", async () => {
  const page = await opened(`http://lan.test:${server.port}/`, { gpu: "real" });
  await explained(page, "insecure", "This address is not secure");
  const words = await page.locator("#reason").innerText();
  assert.match(words, new RegExp(`http://lan.test:${server.port}`));
  assert.match(words, new RegExp(`ssh -L ${server.port}:localhost:${server.port} lan.test`));
  await page.context().close();
});

test("a browser without WebGPU", async () => {
  const page = await opened("", { gpu: "real", init: () => delete Navigator.prototype.gpu });
  await explained(page, "no-webgpu", "This browser has no WebGPU");
  assert.match(await page.locator(".here").innerText(), /Chrome/);
  await page.context().close();
});

test("no adapter: Chromium as it comes, without flags for WebGPU", async () => {
  const page = await opened("", { gpu: "real" });
  await explained(page, "no-adapter", "No GPU was found");
  await page.context().close();
});

test("limits too small", async () => {
  const page = await opened("", { gpu: { maxStorageBuffersPerShaderStage: 4, maxComputeInvocationsPerWorkgroup: 128 } });
  await explained(page, "limits", "This GPU’s limits are too small");
  const words = await page.locator("#reason pre").first().innerText();
  assert.match(words, /maxStorageBuffersPerShaderStage: 4, needs 8/);
  assert.match(words, /maxComputeInvocationsPerWorkgroup: 128, needs 256/);
  assert.doesNotMatch(words, /maxComputeWorkgroupSizeX/);
  await page.context().close();
});

for (const [what, fault, match] of [
  ["the module is missing", "missing", /^assay-\w+\.wasm$/],
  ["the module's download is cut", "drop", /^assay-\w+\.wasm$/],
  ["the glue is missing", "missing", /^assay-\w+\.js$/],
  ["the first script is missing", "missing", /^boot-\w+\.js$/],
]) {
  test(`${what}, and then it is back`, async () => {
    server.faults((name) => (match.test(name) ? fault : undefined));
    const page = await opened();
    await explained(page, "download", "A part of the page did not arrive");
    server.faults();
    await page.getByRole("button", { name: "Try again" }).click();
    await running(page);
    await page.context().close();
  });
}

test("the module refuses to start", async () => {
  const page = await opened("", {
    init: () => {
      globalThis.stub = {
        start: async () => {
          throw new Error("the surface could not be configured");
        },
      };
    },
  });
  await explained(page, "start", "Assay could not start");
  assert.match(await page.locator("#reason").innerText(), /the surface could not be configured/);
  await page.context().close();
});

test("a module that this browser cannot compile", async () => {
  const page = await opened("", {
    init: () => {
      WebAssembly.compileStreaming = async () => {
        throw new WebAssembly.CompileError("unknown section");
      };
    },
  });
  await explained(page, "start", "Assay could not start");
  assert.match(await page.locator("#reason").innerText(), /unknown section/);
  await page.context().close();
});

test("error pages can be used with the keyboard alone", async () => {
  const page = await opened("", { gpu: null });
  await explained(page, "no-adapter", "No GPU was found");
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");
  const seen = [];
  for (let i = 0; i < 3; i++) {
    await page.keyboard.press("Tab");
    seen.push(await page.evaluate(() => document.activeElement.tagName));
  }
  assert.ok(seen.includes("SUMMARY"), seen.join());
  await page.locator("summary").focus();
  await page.keyboard.press("Enter");
  assert.match(await page.locator("details pre").innerText(), /Assay 1\.0\.0 .*no-adapter[^]*Chrome/);
  await shots(page, "details");
  await page.context().close();
});

// --- panics -----------------------------------------------------------------------------------------------------------------

const PANIC =
  "panicked at app/ui/src/state.rs:10:5:\nindex out of bounds: the len is 3 but the index is 7\n\n" +
  Array.from({ length: 40 }, (_, i) => `    at assay_web-${i}.wasm:wasm-function[${1000 + i}]:0x${i}abcd`).join("\n");

test("a panic ends in words, and a reload starts afresh", async () => {
  const page = await opened();
  await running(page);
  await page.evaluate((message) => (stub.panic = message), PANIC);
  await explained(page, "panic", "Assay stopped");
  const words = await page.locator("#reason").innerText();
  assert.match(words, /panicked at app\/ui\/src\/state\.rs:10:5:\s+index out of bounds/);
  assert.doesNotMatch(words, /wasm-function/);
  assert.ok(!(await page.locator("canvas").isVisible()));
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy details" }).click();
  await page.getByRole("button", { name: "Copied" }).waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, /^Assay 1\.0\.0 \(\w+\), panic\npanicked at[^]*the index is 7[^]*wasm-function[^]*adapter: test stub[^]*Chrome/);
  await page.getByRole("button", { name: "Reload" }).click();
  await running(page);
  await page.context().close();
});

test("a trap without a panic counts as one, a plain error does not", async () => {
  const page = await opened();
  await running(page);
  await page.evaluate(() => setTimeout(() => { throw new Error("an extension's own trouble"); }));
  await page.waitForTimeout(700);
  assert.ok(await page.locator("canvas").isVisible());
  await page.evaluate(() => setTimeout(() => { throw new WebAssembly.RuntimeError("unreachable"); }));
  await page.waitForSelector('html[data-failed="panic"]', { state: "attached" });
  assert.match(await page.locator("#reason").innerText(), /RuntimeError: unreachable/);
  await page.context().close();
});

// --- files ------------------------------------------------------------------------------------------------------------------

// Drops files as a browser does; `files` is [name, size] each.
async function drop(page, files, event = "drop") {
  const transfer = await page.evaluateHandle((files) => {
    const transfer = new DataTransfer();
    for (const [name, size] of files) transfer.items.add(new File([new Uint8Array(size)], name));
    return transfer;
  }, files);
  for (const type of event === "drop" ? ["dragenter", "dragover", "drop"] : [event]) {
    await page.dispatchEvent("canvas", type, { dataTransfer: transfer });
  }
}

test("dropped files reach the module, and nobody else", async () => {
  const page = await opened();
  await running(page);
  await drop(page, [["a.bin", 5], ["b.bin", 7]]);
  assert.deepEqual(await called(page, "offer_files"), [[[5, 7], ["a.bin", "b.bin"]]]);
  assert.deepEqual(await calls(page, "dragging"), [[2], [0]]);
  assert.deepEqual(await calls(page, "eframe saw a drop"), []);
  await page.context().close();
});

test("files that leave again are forgotten", async () => {
  const page = await opened();
  await running(page);
  await drop(page, [["a.bin", 5]], "dragover");
  await drop(page, [["a.bin", 5]], "dragleave");
  await drop(page, [["a.bin", 5]], "dragover");
  await page.waitForTimeout(200);
  assert.deepEqual(await calls(page, "dragging"), [[1]], "passing from one element to another is no leaving");
  await drop(page, [["a.bin", 5]], "dragleave");
  assert.deepEqual(await called(page, "dragging", 2), [[1], [0]]);
  await page.context().close();
});

test("files that are dropped while it starts are not lost", async () => {
  server.faults((name) => (name.endsWith(".wasm") ? "slow" : undefined));
  const page = await opened();
  await page.waitForFunction(() => document.getElementById("bar").value > 0);
  await drop(page, [["early.bin", 3]]);
  server.faults();
  await running(page);
  assert.deepEqual(await called(page, "offer_files"), [[[3], ["early.bin"]]]);
  await page.context().close();
});

test("a dropped folder is read with its paths, up to a limit", async () => {
  const page = await opened();
  await running(page);
  // Chromium lets no script make a folder's entry, so this is one of our own; the drop is real.
  await page.evaluate(() => {
    const file = (path, size) => ({
      isFile: true, isDirectory: false, name: path.split("/").at(-1), fullPath: path,
      file: (resolve, reject) => (size < 0 ? reject(new Error("gone")) : resolve(new File([new Uint8Array(size)], path))),
    });
    const folder = (path, inner) => ({
      isFile: false, isDirectory: true, name: path.split("/").at(-1), fullPath: path,
      createReader: () => {
        const parts = [inner.slice(0, 100), ...(inner.length > 100 ? [inner.slice(100)] : []), []];
        return { readEntries: (resolve) => resolve(parts.shift()) };
      },
    });
    globalThis.entries = [
      folder("/model", [file("/model/config.json", 2), folder("/model/sub", [file("/model/sub/w.safetensors", 9)]), file("/model/gone", -1)]),
      folder("/huge", Array.from({ length: 5000 }, (_, i) => file(`/huge/${i}`, 1))),
    ];
    DataTransferItem.prototype.webkitGetAsEntry = () => entries[0];
  });
  await drop(page, [["model", 0]]);
  assert.deepEqual(await called(page, "offer_files"), [[[2, 9], ["model/config.json", "model/sub/w.safetensors"]]]);
  assert.equal(await page.locator("#alert").textContent(), "gone could not be read");
  await page.evaluate(() => { entries.shift(); });
  await drop(page, [["huge", 0]]);
  const [, [sizes]] = await called(page, "offer_files", 2);
  assert.equal(sizes.length, 4095);
  assert.match(await page.locator("#alert").textContent(), /first 4096/);
  await page.context().close();
});

test("files and folders that are chosen reach the module", async () => {
  const chosen = path.join(folder, "chosen");
  await fs.mkdir(path.join(chosen, "inner"), { recursive: true });
  await fs.writeFile(path.join(chosen, "a.bin"), "12345");
  await fs.writeFile(path.join(chosen, "inner", "b.bin"), "123");
  const page = await opened();
  await running(page);
  for (const _ of [1, 2]) {
    const chooser = page.waitForEvent("filechooser");
    await page.evaluate(() => assayPick("files"));
    await (await chooser).setFiles(path.join(chosen, "a.bin"));
  }
  assert.deepEqual(await called(page, "offer_files", 2), [[[5], ["a.bin"]], [[5], ["a.bin"]]], "the same file twice");
  const chooser = page.waitForEvent("filechooser");
  await page.evaluate(() => assayPick("folder"));
  await (await chooser).setFiles(chosen);
  const [, , [, paths]] = await called(page, "offer_files", 3);
  assert.deepEqual(paths.sort(), ["chosen/a.bin", "chosen/inner/b.bin"]);
  await page.context().close();
});

// --- what the module calls --------------------------------------------------------------------------------------------------

test("announcements are in the document, also the same one again", async () => {
  const page = await opened();
  await running(page);
  await page.evaluate(() => assayAnnounce("Verifying, 12 %", false));
  assert.equal(await page.locator("#status").textContent(), "Verifying, 12 %");
  await page.evaluate(() => assayAnnounce("REJECTED: token-margin", true));
  assert.equal(await page.locator("#alert").textContent(), "REJECTED: token-margin");
  const changes = await page.evaluate(async () => {
    let changes = 0;
    const observer = new MutationObserver((records) => (changes += records.length));
    observer.observe(document.getElementById("alert"), { childList: true });
    assayAnnounce("REJECTED: token-margin", true);
    await new Promise((resolve) => setTimeout(resolve, 200));
    return changes;
  });
  assert.ok(changes >= 2);
  assert.equal(await page.locator("#alert").textContent(), "REJECTED: token-margin");
  await page.context().close();
});

test("a download has its name and bytes", async () => {
  const page = await opened();
  await running(page);
  const waiting = page.waitForEvent("download");
  await page.evaluate(() => assaySave("report.json", "application/json", new TextEncoder().encode("{}\n")));
  const download = await waiting;
  assert.equal(download.suggestedFilename(), "report.json");
  assert.equal(await fs.readFile(await download.path(), "utf8"), "{}\n");
  await page.context().close();
});

test("a changed link is handed on", async () => {
  const page = await opened();
  await running(page);
  await page.evaluate(() => (location.hash = "layer=3&token=9"));
  assert.deepEqual(await called(page, "link"), [["#layer=3&token=9"]]);
  await page.context().close();
});

test("the worker hears everything in order, and its death is heard", async () => {
  const page = await opened();
  await running(page);
  const heard = await page.evaluate(async () => {
    const worker = assayWorker();
    const heard = [];
    worker.onmessage = ({ data }) => heard.push(data);
    for (const word of ["one", "two", "three"]) worker.postMessage(word);
    while (heard.length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
    worker.postMessage("four");
    while (heard.length < 4) await new Promise((resolve) => setTimeout(resolve, 20));
    const died = new Promise((resolve) => {
      worker.onerror = (event) => {
        event.preventDefault();
        resolve(event.message);
      };
    });
    worker.postMessage("reject");
    return [...heard, await died];
  });
  assert.deepEqual(heard.slice(0, 4), ["heard one", "heard two", "heard three", "heard four"]);
  assert.match(heard[4], /rejected in the worker/);
  await page.context().close();
});

// --- offline ----------------------------------------------------------------------------------------------------------------

async function installed(page) {
  await page.evaluate(async () => {
    const { active } = await navigator.serviceWorker.ready;
    while (active.state !== "activated") await new Promise((resolve) => setTimeout(resolve, 20));
  });
}

test("after the first visit it works without the server", async () => {
  const here = await serve({ root: site });
  const page = await open(browser);
  await page.addInitScript(fakeGpu, {});
  await page.goto(here.url);
  await running(page);
  await installed(page);
  await here.close();
  await page.goto(`${here.url}?trace=samples/honest.bin`);
  await running(page);
  const got = await page.evaluate(async () => {
    const length = async (address, headers) => {
      const response = await fetch(address, { headers });
      return [response.status, (await response.arrayBuffer()).byteLength, response.headers.get("content-range")];
    };
    return {
      sample: await length("samples/honest.bin"),
      model: await length("demo/model.safetensors"),
      piece: await length("demo/model.safetensors", { range: "bytes=100-199" }),
      tail: await length("demo/model.safetensors", { range: "bytes=-8" }),
      rest: await length("samples/honest.bin", { range: "bytes=84000-" }),
      beyond: (await length("demo/config.json", { range: "bytes=99999-" }))[0],
    };
  });
  const sample = (await fs.stat(path.join(site, "samples/honest.bin"))).size;
  const model = (await fs.stat(path.join(site, "demo/model.safetensors"))).size;
  assert.deepEqual(got, {
    sample: [200, sample, null],
    model: [200, model, null],
    piece: [206, 100, `bytes 100-199/${model}`],
    tail: [206, 8, `bytes ${model - 8}-${model - 1}/${model}`],
    rest: [206, sample - 84000, `bytes 84000-${sample - 1}/${sample}`],
    beyond: 416,
  });
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("what is not the page's own goes to the network", async () => {
  const files = path.join(folder, "files");
  await fs.mkdir(files, { recursive: true });
  await fs.writeFile(path.join(files, "other.bin"), "0123456789");
  const other = await serve({ root: files });
  const page = await opened();
  await running(page);
  await installed(page);
  await page.reload();
  await running(page);
  await fs.writeFile(path.join(site, "beside.bin"), "0123456789");
  server.requests.length = 0;
  const got = await page.evaluate(async (other) => {
    const text = async (address) => (await fetch(address, { headers: { range: "bytes=2-4" } })).text();
    return [await text("beside.bin"), await text(`${other}cors/other.bin`)];
  }, other.url);
  assert.deepEqual(got, ["234", "234"]);
  assert.ok(server.requests.includes("GET /beside.bin bytes=2-4"));
  assert.ok(other.requests.includes("GET /cors/other.bin bytes=2-4"));
  await fs.rm(path.join(site, "beside.bin"));
  await page.context().close();
  await other.close();
});

test("away from home the cache comes first, a new version is shown by the next load, and the old one goes", async () => {
  const page = await open(browser);
  await page.addInitScript(fakeGpu, {});
  const away = `http://away.test:${server.port}/`;
  const version = () => page.evaluate(() => assayBuild.version);
  const kept = () => page.evaluate(() => caches.keys());
  await page.goto(away);
  await running(page);
  await installed(page);
  const [first] = await kept();
  server.requests.length = 0;
  await page.goto(`${away}?trace=samples/honest.bin`);
  await running(page);
  assert.ok(!server.requests.some((line) => line.includes("/?") || line.endsWith(".wasm")), server.requests.join());

  server.root(newer);
  await page.goto(away);
  await running(page);
  assert.equal(await version(), "1.0.0", "the running visit keeps its version");
  await page.evaluate(async () => (await navigator.serviceWorker.getRegistration()).update());
  await until(page, async (first) => (await caches.keys()).some((name) => name !== first), first);
  await until(page, async () => {
    const registration = await navigator.serviceWorker.getRegistration();
    return !registration.installing && !registration.waiting;
  });
  // Its own files are still there, although the server has them no more.
  assert.ok(await page.evaluate(async () => (await fetch(assayBuild.worker)).ok));

  await page.goto(away);
  await running(page);
  assert.equal(await version(), "2.0.0");
  await until(page, async (first) => !(await caches.keys()).includes(first), first);
  assert.equal((await kept()).length, 1);
  server.root(site);
  await page.context().close();
});

test("at home a reload shows the new build", async () => {
  const here = await serve({ root: site });
  const page = await open(browser);
  await page.addInitScript(fakeGpu, {});
  await page.goto(here.url);
  await running(page);
  await installed(page);
  here.root(newer);
  await page.reload();
  await running(page);
  assert.equal(await page.evaluate(() => assayBuild.version), "2.0.0");
  await page.context().close();
  await here.close();
});

test("a deployment that is half done is not kept", async () => {
  const mixed = path.join(folder, "mixed");
  await fs.cp(newer, mixed, { recursive: true });
  await fs.copyFile(path.join(site, "index.html"), path.join(mixed, "index.html"));
  for (const name of await fs.readdir(site)) {
    if (/-[0-9a-f]{12}\./.test(name)) await fs.copyFile(path.join(site, name), path.join(mixed, name));
  }
  const here = await serve({ root: mixed });
  const page = await open(browser);
  await page.addInitScript(fakeGpu, {});
  await page.goto(here.url);
  await running(page);
  const state = await page.evaluate(async () => {
    const registration = await navigator.serviceWorker.register("sw.js");
    const worker = registration.installing ?? registration.waiting ?? registration.active;
    if (!worker) return "gone";
    while (worker.state === "installing") await new Promise((resolve) => setTimeout(resolve, 20));
    return worker.state;
  });
  assert.ok(["redundant", "gone"].includes(state), state);
  await page.context().close();
  await here.close();
});
