// Assay itself in real Chromium on SwiftShader: verdicts, files, addresses, cancels, offline use, hostile input, and the two ways
// between the page and the native program. Needs the page's folder in ASSAY_SITE and the program in ASSAY_BIN; `cargo xtask test`
// makes both. With ASSAY_SHOTS=DIR it keeps screenshots there, for people to look at.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promises as fs } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { launch, open } from "./launch.mjs";
import { dishonest, honest } from "./prover.mjs";
import { serve } from "./server.mjs";
import { ROOT } from "./site.mjs";

const SITE = process.env.ASSAY_SITE ?? path.join(ROOT, "target/web/site");
const ASSAY = process.env.ASSAY_BIN ?? path.join(ROOT, "target/debug/assay");
const SHOTS = process.env.ASSAY_SHOTS;
const SAMPLES = path.join(ROOT, "web/samples");
const DEMO = path.join(ROOT, "app/model/demo-llama");
const run = promisify(execFile);

let home; // the page's origin
let away; // another one, with everything a checkpoint and a trace need
let browser;
let temporary;

before(async () => {
  temporary = await fs.mkdtemp(path.join(os.tmpdir(), "assay-app-"));
  const files = path.join(temporary, "files");
  await fs.mkdir(files);
  await fs.cp(DEMO, path.join(files, "demo"), { recursive: true });
  await fs.cp(SAMPLES, path.join(files, "samples"), { recursive: true });
  home = await serve({ root: SITE });
  away = await serve({ root: files, slow: 200_000 });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await home?.close();
  await away?.close();
  await fs.rm(temporary, { recursive: true, force: true });
});

// --- what the tests share ---------------------------------------------------------------------------------------------------

// A page at `query`, once the app runs. `settings` are what an earlier visit kept.
async function start(query = "", { settings, ...options } = {}) {
  const page = await open(browser, options);
  if (settings) {
    await page.addInitScript((text) => window.localStorage.setItem("assay-settings", text), JSON.stringify(settings));
  }
  await page.goto(home.url + query);
  await page.waitForFunction(() => window.assay && window.assay.state() !== "", null, { timeout: 300_000 });
  return page;
}

async function state(page) {
  return JSON.parse(await page.evaluate(() => window.assay.state()));
}

// Waits until the app's state is as `is` wants it; its last state is in the error otherwise. The time is a guard against hanging, and far
// above what a slow machine needs: no test is about speed.
async function until(page, is, what, seconds = 600) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const now = await state(page);
    if (is(now)) return now;
    const said = page.said.filter((line) => line.startsWith("error")).join("\n");
    if (Date.now() > end) assert.fail(`never ${what}: ${JSON.stringify(now).slice(0, 2000)}\n${said}\n${page.faults}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const judged = (now) => now.phase === "done" || now.phase === "error";

// Runs a command, and waits until the app has drawn what follows from it: it takes commands in once a frame.
async function command(page, name) {
  await page.evaluate(async (name) => {
    window.assay.command(name);
    for (let frame = 0; frame < 4; frame += 1) await new Promise(requestAnimationFrame);
  }, name);
}

async function verdict(page, name) {
  await command(page, name);
  return until(page, judged, `judged: ${name}`);
}

// After whatever happened, the app still does what it is for.
async function stillWorks(page) {
  const now = await verdict(page, "verify-sample");
  assert.equal(now.verdict, "accept", JSON.stringify(now));
  assert.deepEqual(page.faults, []);
}

async function report(page) {
  return JSON.parse(await page.evaluate(() => window.assay.report()));
}

// The native program's report on a trace; a reject has exit code 1.
async function native(file, ...args) {
  const ran = await run(ASSAY, ["--verify", file, "--json", ...args]).catch((err) => err);
  return JSON.parse(ran.stdout);
}

async function shot(page, name) {
  if (!SHOTS) return;
  await fs.mkdir(SHOTS, { recursive: true });
  // The canvas shows what happened one frame ago.
  await new Promise((resolve) => setTimeout(resolve, 700));
  await page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
}

// Two reports on one trace from two devices: all that is not the device's own must be equal.
function compare(page, program) {
  // Two devices may give the same bits or not; where they differ in that, so does what is said of the rows that are not opened.
  const exact = page.coverage.exact_fraction === program.coverage.exact_fraction;
  const same = (of) => ({
    schema_version: of.schema_version,
    verdict: of.verdict,
    summary: of.summary,
    trace: of.trace,
    model: of.model,
    coverage: { ...of.coverage, exact_fraction: 0, exact_logits_fraction: 0, not_covered: exact ? of.coverage.not_covered : null },
    profile: of.profile,
    numerics: of.numerics,
    prover_says: of.prover_says,
    checks: of.checks.map(({ id, outcome, code, source, where }) => ({ id, outcome, code, source, where })),
    rows: of.statistics.per_layer.map(({ layer, rows }) => ({ layer, rows })),
    tokens: of.statistics.tokens?.n,
  });
  assert.deepEqual(same(page), same(program));
  assert.deepEqual(Object.keys(page).sort(), Object.keys(program).sort());
  for (const of of [page, program]) {
    const states = of.checks.find((check) => check.id === "hidden-states");
    if (states.outcome === "pass" && states.measured !== null) assert.ok(states.measured < states.limit);
  }
}

// --- verdicts ---------------------------------------------------------------------------------------------------------------

test("the samples get their verdicts, and the page says what the program prints", async () => {
  const page = await start();
  await shot(page, "empty-dark-wide");
  for (const [name, file, want, code] of [
    ["verify-sample", "honest.bin", "accept", null],
    ["verify-swapped", "swapped-token.bin", "reject", "token-margin"],
    ["verify-flipped", "flipped-byte.bin", "reject", undefined],
  ]) {
    const now = await verdict(page, name);
    assert.equal(now.verdict, want, JSON.stringify(now));
    if (code !== undefined) assert.equal(now.code, code);
    compare(await report(page), await native(path.join(SAMPLES, file), "--adapter", "SwiftShader"));
    // The live region, for whoever does not see the canvas.
    const words = { accept: /accepted/i, reject: /rejected/i }[want];
    await page.waitForFunction(
      (source) => new RegExp(source, "i").test(document.getElementById("alert").textContent),
      words.source,
    );
    await shot(page, `${want}-${file}-dark-wide`);
  }
  // How the page fares while a job runs: its own work in a frame, and the time from one frame to the next. Told, not judged: on a
  // software rasteriser the second is mostly the rasteriser's.
  await page.evaluate(() => {
    window.gaps = [];
    let last = performance.now();
    const tick = (now) => {
      window.gaps.push(now - last);
      last = now;
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  });
  await verdict(page, "verify-sample");
  const { worst_frame_ms, frames } = await state(page);
  const gaps = (await page.evaluate(() => window.gaps)).sort((a, b) => a - b);
  const at = (share) => gaps[Math.floor(share * (gaps.length - 1))].toFixed(0);
  const { total_s } = (await report(page)).timings;
  console.log(`a verification of ${total_s.toFixed(1)} s: ${frames} frames drawn, worst ${worst_frame_ms.toFixed(1)} ms of the page's own work;`);
  console.log(`from frame to frame ${at(0.5)} ms in the middle, ${at(0.95)} ms at 95 %, ${at(1)} ms at worst`);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("light and narrow screens", { skip: !SHOTS }, async () => {
  for (const [size, viewport] of [
    ["wide", { width: 1280, height: 800 }],
    ["narrow", { width: 390, height: 844 }],
  ]) {
    for (const theme of ["light", "dark"]) {
      const page = await start("", { viewport });
      await command(page, `theme-${theme}`);
      await shot(page, `empty-${theme}-${size}`);
      await command(page, "verify-sample");
      await until(page, (now) => now.stage !== null, "working", 120);
      await shot(page, `running-${theme}-${size}`);
      await until(page, judged, "judged");
      await shot(page, `accepted-${theme}-${size}`);
      for (const tab of ["tokens", "figures", "evidence"]) {
        await command(page, `show-${tab}`);
        await command(page, "next-token");
        await shot(page, `${tab}-${theme}-${size}`);
      }
      await page.context().close();
    }
  }
});

// --- files ------------------------------------------------------------------------------------------------------------------

test("a trace and a model's folder come by file input", async () => {
  const page = await start();
  await page.setInputFiles("#pick-files", path.join(SAMPLES, "honest.bin"));
  await until(page, (now) => now.trace === "honest.bin" && now.claims?.manifest, "inspected");
  await page.setInputFiles("#pick-folder", DEMO);
  await until(page, (now) => now.model === "demo-llama" && now.phase !== "working", "opened");
  const now = await verdict(page, "verify");
  assert.equal(now.verdict, "accept", JSON.stringify(now));
  await page.context().close();
});

test("what the native program proves on llvmpipe is accepted here, and the other way round", async () => {
  const trace = path.join(temporary, "native.bin");
  const sampling = ["--prompt", "KING HENRY:", "-n", "24", "--temperature", "0.9", "--seed", "11"];
  await run(ASSAY, ["prove", ...sampling, "--adapter", "llvmpipe", "--trace", trace]);
  const page = await start("", { settings: { max_tokens: 12 } });
  await page.setInputFiles("#pick-files", trace);
  await until(page, (now) => now.trace === "native.bin" && now.claims?.manifest, "inspected");
  const now = (await state(page)).phase === "done" ? await state(page) : await verdict(page, "verify");
  assert.equal(now.verdict, "accept", JSON.stringify(now));
  compare(await report(page), await native(trace, "--adapter", "SwiftShader"));

  // Strict, so that the other compiler of shaders must give the very bits, and so the very root, that native devices give.
  await command(page, "strict-numerics");
  await command(page, "run-prove");
  const proved = await until(page, (now) => now.proved, "proved");
  assert.ok(proved.proved.tokens > 0 && proved.proved.tokens <= 12 && proved.text.length > 0);
  const download = page.waitForEvent("download");
  await command(page, "save-trace");
  const saved = path.join(temporary, "page.bin");
  await (await download).saveAs(saved);
  for (const adapter of ["llvmpipe", "cpu"]) {
    const judged = await native(saved, "--adapter", adapter);
    assert.equal(judged.verdict, "accept", judged.summary);
    const strict = judged.checks.find((check) => check.id === "strict");
    assert.equal(strict.outcome, "pass", strict.detail);
    assert.equal(judged.trace.root, proved.proved.root);
    assert.equal(judged.numerics.comparison, "exact");
  }
  await page.context().close();
});

test("a report, figures and a plot are saved", async () => {
  const page = await start();
  await verdict(page, "verify-sample");
  const save = async (name) => {
    const download = page.waitForEvent("download");
    await command(page, name);
    const file = path.join(temporary, name);
    await (await download).saveAs(file);
    return fs.readFile(file);
  };
  assert.deepEqual(JSON.parse(await save("save-report")), await report(page));
  const statement = JSON.parse(await save("save-statement"));
  assert.equal(statement.predicateType, "https://in-toto.io/attestation/svr/v0.2");
  assert.ok(statement.predicate.properties.includes("ASSAY_TRACE_ACCEPTED"));
  const csv = (await save("save-csv")).toString().trim().split("\r\n");
  assert.equal(csv.length, 1 + 2 * 45 + 46);
  await command(page, "show-figures");
  const png = await save("save-plot");
  assert.equal(png.subarray(1, 4).toString(), "PNG");
  assert.ok(png.length > 2000, "a picture of something");
  await page.context().close();
});

test("what a study found is drawn, and one that is none is refused in words", async () => {
  const series = { name: "predictor", style: "line", points: [[0, 0.6], [1, 0.5]], band: [[0.5, 0.7], [0.4, 0.6]] };
  const axis = (label) => ({ label, scale: "linear" });
  const chart = { title: "Recall", x: axis("layer"), y: axis("recall"), series: [series], marks: [] };
  const sheet = { format: "assay-sheet", version: 1, title: "A study", lead: "It found something.", facts: [] };
  const at = (name) => path.join(temporary, name);
  await fs.writeFile(at("sheet.json"), JSON.stringify({ ...sheet, sections: [{ heading: "All", blocks: [{ chart }] }] }));
  await fs.writeFile(at("later.json"), JSON.stringify({ ...sheet, version: 2, sections: [] }));
  const page = await start();
  await page.setInputFiles("#pick-files", at("sheet.json"));
  const now = await until(page, (now) => now.study === "A study", "drawn");
  assert.equal(now.page, "study");
  await shot(page, "study");
  await page.setInputFiles("#pick-files", at("later.json"));
  const refused = await until(page, (now) => now.error, "refused");
  assert.equal(refused.error.code, "not-a-sheet");
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

// --- experiments ------------------------------------------------------------------------------------------------------------

// The form of a visitor who ran `which` before, with few tokens.
const few = (which, more = {}) => ({
  settings: { experiments: { which, trials: 1, verifiers: 1, prompts: "Short", tokens: 4, verifier: "Best", ...more } },
});

// Runs what the Study page says; the sheet, as it is saved.
async function experiment(page) {
  await command(page, "run-experiment");
  const now = await until(page, (now) => now.phase !== "working" && (now.study || now.error), "found something");
  assert.deepEqual([now.error, now.study, now.page], [null, "Experiments", "study"]);
  const download = page.waitForEvent("download");
  await command(page, "save-sheet");
  const file = path.join(temporary, "experiments.json");
  await (await download).saveAs(file);
  return JSON.parse(await fs.readFile(file));
}

// The table of an experiment by direction: its rows, and the cell of a column in one of them.
function directions(sheet, name) {
  const section = sheet.sections.find((section) => section.heading.startsWith(`${name}:`));
  const { columns, rows } = section.blocks.find((block) => block.table).table;
  return { rows, cell: (row, column) => row[columns.indexOf(column)] };
}

test("the page runs experiments on its adapter, and on the CPU", async () => {
  const page = await start("", few(1));
  await command(page, "experiments");
  await shot(page, "experiments-form");
  const one = directions(await experiment(page), "exp1");
  assert.equal(one.rows.length, 2, "one direction, and all");
  assert.match(one.rows[0][0], /swiftshader.* -> .*swiftshader/i);
  assert.equal(one.cell(one.rows[1], "accept rate (repo)"), 1);
  await shot(page, "experiments-one");
  // What is there is not run again: the same times stand in the sheet.
  const [first, second] = [await experiment(page), await experiment(page)];
  assert.deepEqual(second, first);
  await stillWorks(page);
  await page.context().close();

  const both = await start("", few(2));
  await command(both, "experiments");
  const two = directions(await experiment(both), "exp2");
  const names = two.rows.map((row) => row[0]);
  assert.equal(names.length, 3, JSON.stringify(names));
  assert.ok(names.some((name) => /^cpu -> .*swiftshader/i.test(name)), JSON.stringify(names));
  assert.ok(names.some((name) => /swiftshader.* -> cpu$/i.test(name)), JSON.stringify(names));
  const all = two.rows[2];
  assert.equal(two.cell(all, "accept rate (repo)"), 1);
  assert.deepEqual([two.cell(all, "own: accept"), two.cell(all, "reject")], [2, 0]);
  await shot(both, "experiments-two");
  assert.deepEqual(both.faults, []);
  await both.context().close();
});

test("experiments that are cancelled go on, and dishonest provers are caught", async () => {
  const page = await start("", few(4, { trials: 2 }));
  await command(page, "experiments");
  await command(page, "run-experiment");
  await until(page, (now) => now.stage === "trials" && now.done >= 1, "one trial done");
  await shot(page, "experiments-running");
  await command(page, "cancel");
  const stopped = await until(page, (now) => now.phase !== "working", "cancelled", 180);
  assert.deepEqual([stopped.error, stopped.study], [null, null]);
  const four = directions(await experiment(page), "exp4");
  const all = four.rows[four.rows.length - 1];
  assert.deepEqual([four.cell(all, "own: accept"), four.cell(all, "reject")], [0, 4]);
  assert.equal(four.cell(all, "without embedding"), 0);

  // Two devices are one where both are the CPU.
  const cpu = await start("", { settings: { device: "Cpu", ...few(2, { verifier: "Cpu" }).settings } });
  await command(cpu, "run-experiment");
  const refused = await until(cpu, (now) => now.error, "refused");
  assert.equal(refused.error.code, "unsupported");
  assert.match(refused.error.message, /two devices/);
  await shot(cpu, "experiments-refused");
  await cpu.context().close();
  await stillWorks(page);
  await page.context().close();
});

// --- keys -------------------------------------------------------------------------------------------------------------------

const PASSPHRASE = "correct horse, battery staple";
let kept; // keys and traces for them, made once

// A key, the same encrypted, a trace that has all open, the same with a lie in it, and one with nothing open; also to be fetched.
function keysAndTraces() {
  kept ??= (async () => {
    const folder = path.join(temporary, "files", "keys");
    await fs.mkdir(folder);
    const at = (name) => path.join(folder, name);
    await fs.writeFile(at("passphrase"), `${PASSPHRASE}\n`);
    const sampling = ["--prompt", "KING HENRY:", "-n", "24", "--temperature", "0.9", "--seed", "11", "--adapter", "llvmpipe"];
    await run(ASSAY, ["keygen", "--out", at("demo.SECRET.assay-key")]);
    await run(ASSAY, ["keygen", "--out", at("locked.SECRET.assay-key"), "--passphrase-file", at("passphrase")]);
    await run(ASSAY, ["prove", ...sampling, "--open", "all", "--trace", at("open.bin")]);
    await run(ASSAY, ["prove", ...sampling, "--open", "count=3", "--trace", at("drawn.bin")]);
    await run(ASSAY, ["tamper", at("open.bin"), "--swap-token", "--out", at("lie.bin")]);
    return at;
  })();
  return kept;
}

// Two reports of one audit on two devices. Times and devices differ; so do errors in their last bits, but not what follows from them.
function compareAudits(page, program) {
  const numbers = new Set([
    "measured", "relative_error", "row_over_limit", "pooled_over_limit", "element_over_bound", "residual_over_bound", "mse",
    "mean_log_likelihood", "replayed_by_chance", "mean_margin",
  ]);
  const same = (value, key) => {
    if (numbers.has(key)) return typeof value;
    if (Array.isArray(value)) return value.map((item) => same(item));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, same(item, key)]));
  };
  const without = ({ timings, adapter, ...rest }) => same(rest);
  assert.deepEqual(without(page), without(program));
  assert.deepEqual(Object.keys(page), Object.keys(program));
  assert.equal(page.method, "audit");
}

async function openBoth(page, trace, key) {
  await page.setInputFiles("#pick-files", [trace, key]);
  const [file, name] = [path.basename(trace), path.basename(key)];
  // Until the new trace is the one on the page, what is there is the last one's, verdict and all.
  const both = (now) => now.phase === "idle" && now.trace === file && now.model === name && now.claims?.manifest && (now.key || now.locked);
  await until(page, both, "opened both");
}

test("a trace and a key come by file input, and the page audits as the program does", async () => {
  const at = await keysAndTraces();
  const key = at("demo.SECRET.assay-key");
  const page = await start();
  for (const [trace, want, code] of [
    ["open.bin", "accept", null],
    ["drawn.bin", "accept", null],
    ["lie.bin", "reject", "token-margin"],
  ]) {
    await openBoth(page, at(trace), key);
    await shot(page, `key-${trace}`);
    const now = await verdict(page, "verify");
    assert.equal(now.verdict, want, JSON.stringify(now));
    assert.equal(now.code, code);
    compareAudits(await report(page), await native(at(trace), "--key", key, "--adapter", "SwiftShader"));
    await shot(page, `audited-${trace}`);
    await command(page, "show-audit");
    assert.equal((await state(page)).tab, "audit");
    await shot(page, `audit-${trace}`);
  }
  // What can be saved of it.
  const save = async (name) => {
    const download = page.waitForEvent("download");
    await command(page, name);
    const file = path.join(temporary, `audit-${name}`);
    await (await download).saveAs(file);
    return fs.readFile(file);
  };
  assert.deepEqual(JSON.parse(await save("save-report")), await report(page));
  assert.equal(JSON.parse(await save("save-statement")).predicate.assay.verdict, "reject");
  assert.equal((await save("save-csv")).toString().trim().split("\r\n").length, 1 + 10);
  // A key is no model, and the app goes on.
  await command(page, "run-prove");
  assert.equal((await state(page)).phase, "done");
  await stillWorks(page);
  await page.context().close();
});

test("an encrypted key asks for its passphrase, and nothing of it is kept", async () => {
  const at = await keysAndTraces();
  const page = await start();
  await openBoth(page, at("open.bin"), at("locked.SECRET.assay-key"));
  let now = await state(page);
  assert.deepEqual([now.locked, now.phase, now.error], ["shut", "idle", null]);
  await page.waitForFunction(() => /passphrase/.test(document.getElementById("alert").textContent));
  await shot(page, "key-locked");
  // The field has taken the focus: eframe types into an input of its own.
  const type = async (text) => {
    await page.waitForFunction(() => document.activeElement?.tagName === "INPUT");
    await page.keyboard.type(text);
    await page.keyboard.press("Enter");
  };
  await type("wrong");
  now = await until(page, (now) => now.locked === "wrong", "told that it is wrong");
  assert.equal(now.error, null);
  await shot(page, "key-wrong");
  await type(PASSPHRASE);
  now = await until(page, (now) => now.key, "unlocked");
  assert.deepEqual([now.locked, now.key.encrypted], [null, true]);
  now = await verdict(page, "verify");
  assert.equal(now.verdict, "accept", JSON.stringify(now));
  // Not on disk, not in the page.
  const left = await page.evaluate(async () => {
    const all = [JSON.stringify(localStorage), JSON.stringify(sessionStorage), location.href, window.assay.state()];
    for (const name of await caches.keys()) {
      for (const request of await (await caches.open(name)).keys()) all.push(request.url);
    }
    const list = async (folder) => {
      for await (const [name, entry] of folder.entries()) {
        all.push(name);
        if (entry.kind === "directory") await list(entry);
        else all.push(await (await entry.getFile()).text());
      }
    };
    await list(await navigator.storage.getDirectory());
    return all.join("\n");
  });
  assert.doesNotMatch(left.replaceAll("locked.SECRET.assay-key", ""), /horse|SECRET|ASSAYKEY|verifier-key/);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("a trace and a key come by address, and the key is not stored", async () => {
  await keysAndTraces();
  const query = `?trace=${away.url}cors/keys/open.bin&key=${away.url}cors/keys/demo.SECRET.assay-key`;
  const page = await start(query);
  const now = await until(page, judged, "judged");
  assert.equal(now.verdict, "accept", JSON.stringify(now));
  assert.equal(now.model, "demo.SECRET.assay-key");
  assert.equal((await report(page)).method, "audit");
  const asked = () => away.requests.filter((line) => line.includes("/cors/keys/demo.SECRET.assay-key")).length;
  const before = asked();
  await page.reload();
  await page.waitForFunction(() => window.assay && window.assay.state() !== "");
  await until(page, judged, "judged again");
  assert.ok(asked() > before, "it is fetched again: no copy was kept");
  await page.context().close();
  for (const [key, code] of [
    [`${away.url}cors/samples/honest.bin`, "not-a-key"],
    [`${home.url}none.key`, "not-found"],
    [`${away.url}nocors/keys/demo.SECRET.assay-key`, "cors"],
  ]) {
    const page = await start(`?trace=${away.url}cors/keys/open.bin&key=${key}`);
    const now = await until(page, (now) => now.error, `an error: ${code}`);
    assert.equal(now.error.code, code, JSON.stringify(now.error));
    assert.equal(now.verdict, null);
    await page.context().close();
  }
});

test("audits on light and narrow screens", { skip: !SHOTS }, async () => {
  const at = await keysAndTraces();
  for (const [size, viewport] of [
    ["wide", { width: 1280, height: 800 }],
    ["narrow", { width: 390, height: 844 }],
  ]) {
    for (const theme of ["light", "dark"]) {
      const page = await start("", { viewport });
      await command(page, `theme-${theme}`);
      await openBoth(page, at("drawn.bin"), at("demo.SECRET.assay-key"));
      await shot(page, `key-${theme}-${size}`);
      await verdict(page, "verify");
      await shot(page, `audited-${theme}-${size}`);
      await command(page, "show-audit");
      await shot(page, `audit-${theme}-${size}`);
      await page.context().close();
    }
  }
});

// --- live provers -----------------------------------------------------------------------------------------------------------

// The page with a prover's address in it, and `work` done there; the prover ends with it. Few tokens are asked for: each is verified.
async function asking(prover, work, options = {}) {
  const kept = [{ name: "assay-settings", value: JSON.stringify({ max_tokens: 12 }) }];
  const storageState = { cookies: [], origins: [{ origin: new URL(home.url).origin, localStorage: kept }] };
  try {
    const page = await start(`?prover=${encodeURIComponent(prover.url)}`, { storageState, ...options });
    assert.deepEqual([(await state(page)).page, (await state(page)).prover], ["ask", prover.url]);
    await work(page);
    await page.context().close();
  } finally {
    await prover.close();
  }
}

test("an honest live prover is accepted, and what it opened is a trace for the program, too", async () => {
  const origin = new URL(home.url).origin;
  await asking(await honest(ASSAY, "--allow-origin", origin), async (page) => {
    assert.equal((await state(page)).phase, "idle", "a link sends nothing");
    const now = await verdict(page, "run-ask");
    assert.deepEqual([now.verdict, now.code], ["accept", null], JSON.stringify(now));
    assert.ok(now.live.text.length > 0 && now.live.kept);
    assert.deepEqual([now.live.layers.length, now.live.receipt.length], [4, 64]);
    const checks = (await report(page)).checks;
    assert.deepEqual([checks[0].id, checks[0].outcome], ["live", "pass"]);
    assert.equal((await report(page)).coverage.freshness, "nonce");
    await page.waitForFunction(() => /^ACCEPTED/.test(document.getElementById("alert").textContent));
    const download = page.waitForEvent("download");
    await command(page, "save-trace");
    const saved = path.join(temporary, "live.bin");
    await (await download).saveAs(saved);
    const again = await native(saved, "--adapter", "cpu", "--expect-prompt", "To be, or not");
    assert.equal(again.verdict, "accept", again.summary);
    assert.equal(again.trace.sha256, (await report(page)).trace.sha256);
    // Another nonce, another draw: two answers are never the same file.
    await command(page, "edit");
    assert.deepEqual([(await state(page)).page, (await state(page)).verdict], ["ask", null]);
    const next = await verdict(page, "run-ask");
    assert.equal(next.verdict, "accept");
    assert.notEqual((await report(page)).trace.sha256, again.trace.sha256);
    assert.deepEqual(page.faults, []);
  });
});

test("a live prover that changes its story is rejected with its code", async () => {
  const prover = await honest(ASSAY, "--allow-origin", "*");
  for (const [lie, code, kept] of [
    ["other-run", "live-changed", true],
    ["other-token", "live-tokens", false],
  ]) {
    await asking(await dishonest(prover.url, lie), async (page) => {
      const now = await verdict(page, "run-ask");
      assert.deepEqual([now.verdict, now.code, now.live.kept], ["reject", code, kept], JSON.stringify(now));
      const failed = (await report(page)).checks.filter((check) => check.outcome === "fail");
      assert.deepEqual(failed.map((check) => [check.id, check.code]), [["live", code]]);
      await page.waitForFunction((code) => document.getElementById("alert").textContent.startsWith(`REJECTED, ${code}`), code);
      await stillWorks(page);
    });
  }
  await prover.close();
});

test("live provers that cannot be asked say why, and the app goes on", async () => {
  const closed = await honest(ASSAY); // it lets no page ask
  const gone = await serve({ root: SITE });
  await gone.close(); // so nobody listens on its port
  for (const [url, message, next] of [
    [new URL(gone.url).origin, /nobody answers/, /check that the prover runs/],
    [closed.url, /does not let this page ask \(CORS\)/, new RegExp(`--allow-origin ${new URL(home.url).origin}`)],
    ["http://192.0.2.1:8737", /plain http on this very machine only/, /https/],
  ]) {
    await asking({ url, close: () => {} }, async (page) => {
      const now = await verdict(page, "run-ask");
      assert.deepEqual([now.phase, now.page, now.verdict, now.error.code], ["error", "ask", null, "live-unreachable"], JSON.stringify(now));
      assert.match(now.error.message, message);
      assert.match(now.error.next, next);
      await page.waitForFunction(() => document.getElementById("alert").textContent.startsWith("Error: "));
      await stillWorks(page);
    });
  }
  await closed.close();
});

test("asking is cancelled at each stage, and the prover is told by the closed connection", async () => {
  const prover = await honest(ASSAY, "--allow-origin", "*");
  for (const [lie, stage] of [
    ["stall-info", "connect"],
    ["stall-run", "answer"],
    ["stall-opening", "challenge"],
  ]) {
    const staller = await dishonest(prover.url, lie);
    await asking(staller, async (page) => {
      await command(page, "run-ask");
      await until(page, (now) => now.stage === stage, `at ${stage}`, 300);
      // News come before what they announce.
      if (lie === "stall-run") await until(page, (now) => now.live.text.length > 0, "answered", 300);
      await new Promise((resolve) => setTimeout(resolve, 500));
      await command(page, "cancel");
      const now = await until(page, (now) => now.phase !== "working", "cancelled", 180);
      assert.deepEqual([now.phase, now.error, now.verdict, now.page], ["idle", null, null, "ask"]);
      for (let tries = 0; staller.hungUp === 0 && tries < 50; tries += 1) await new Promise((resolve) => setTimeout(resolve, 100));
      assert.equal(staller.hungUp, 1, `${lie}: the connection was closed`);
      assert.deepEqual(page.faults, []);
      if (lie === "stall-opening") await stillWorks(page);
    });
  }
  await prover.close();
});

test("asking on light and narrow screens", { skip: !SHOTS }, async () => {
  const prover = await honest(ASSAY, "--allow-origin", "*");
  for (const [size, viewport] of [
    ["wide", { width: 1280, height: 800 }],
    ["narrow", { width: 390, height: 844 }],
  ]) {
    for (const theme of ["light", "dark"]) {
      const shots = async (lie, work) => {
        await asking(await dishonest(prover.url, lie), async (page) => {
          await command(page, `theme-${theme}`);
          await work(page, (what) => shot(page, `ask-${what}-${theme}-${size}`));
        }, { viewport });
      };
      await shots("stall-run", async (page, shot) => {
        await shot("empty");
        await command(page, "run-ask");
        await until(page, (now) => now.live.text.length > 0, "answering", 300);
        await shot("running");
      });
      for (const [lie, what] of [["none", "accepted"], ["other-run", "rejected"]]) {
        await shots(lie, async (page, shot) => {
          await verdict(page, "run-ask");
          await shot(what);
        });
      }
    }
  }
  await prover.close();
});

// --- addresses --------------------------------------------------------------------------------------------------------------

test("a trace and a model come by address, and the model is kept", async () => {
  const query = `?trace=${away.url}cors/samples/honest.bin&model=${away.url}cors/demo`;
  const page = await start(query);
  const now = await until(page, judged, "judged");
  assert.equal(now.verdict, "accept", JSON.stringify(now));
  const asked = () => away.requests.filter((line) => /^GET \/cors\/demo\/model\.safetensors( |$)/.test(line)).length;
  const before = asked();
  assert.ok(before > 0);
  await page.reload();
  await page.waitForFunction(() => window.assay && window.assay.state() !== "");
  const again = await until(page, judged, "judged again");
  assert.equal(again.verdict, "accept", JSON.stringify(again));
  assert.equal(asked(), before, "the weights are read from the browser's own storage");
  await command(page, "storage");
  await shot(page, "storage");
  await page.context().close();
});

test("addresses that fail say why, and the app goes on", async () => {
  for (const [trace, code] of [
    [`${away.url}nocors/samples/honest.bin`, "cors"],
    [`${home.url}samples/none.bin`, "not-found"],
    [`${away.url}drop/samples/honest.bin`, "interrupted-download"],
    ["http://127.0.0.1:9/trace.bin", "network"],
    [`${away.url}zeros/3221225472/trace.bin`, "too-large"],
  ]) {
    const page = await start(`?trace=${encodeURIComponent(trace)}`);
    const now = await until(page, (now) => now.error, `an error: ${code}`);
    assert.equal(now.error.code, code, JSON.stringify(now.error));
    assert.ok(now.error.message.length > 10 && now.error.next, JSON.stringify(now.error));
    assert.equal(now.verdict, null);
    await page.waitForFunction(() => document.getElementById("alert").textContent.length > 0);
    await shot(page, `error-${code}`);
    await stillWorks(page);
    await page.context().close();
  }
});

test("a model's download that breaks is taken up again, or says so", async () => {
  const query = `?trace=${away.url}cors/samples/honest.bin&model=${away.url}drop/demo`;
  const page = await start(query);
  const now = await until(page, judged, "an end");
  // Small files break, too; whichever it was, it has a name and no verdict.
  assert.equal(now.error?.code, "interrupted-download", JSON.stringify(now));
  await stillWorks(page);
  await page.context().close();
});

// --- hostile files ----------------------------------------------------------------------------------------------------------

test("hostile files get an answer, and the app goes on", async () => {
  const page = await start();
  const huge = path.join(temporary, "huge.bin");
  const handle = await fs.open(huge, "w");
  await handle.truncate(3 * 2 ** 30);
  await handle.close();
  await page.setInputFiles("#pick-files", huge);
  const refused = await until(page, (now) => now.error, "refused");
  assert.equal(refused.error.code, "not-a-trace", JSON.stringify(refused.error));
  await stillWorks(page);

  // A million positions are claimed, in a file of some bytes.
  const honest = await fs.readFile(path.join(SAMPLES, "honest.bin"));
  const length = Number(honest.readBigUInt64LE(0));
  const header = honest.subarray(8, 8 + length).toString();
  const claimed = header.replaceAll('\\"tokens\\":40', '\\"tokens\\":1000000').replaceAll("[45,", "[1000005,");
  assert.notEqual(claimed, header);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(Buffer.byteLength(claimed)));
  const million = path.join(temporary, "million.bin");
  await fs.writeFile(million, Buffer.concat([size, Buffer.from(claimed), honest.subarray(8 + length)]));
  const empty = path.join(temporary, "empty.bin");
  await fs.writeFile(empty, "");
  const text = path.join(temporary, "text.bin");
  await fs.writeFile(text, "this is no trace at all");
  for (const file of [million, empty, text]) {
    await page.setInputFiles("#pick-files", file);
    const name = path.basename(file);
    await until(page, (now) => now.trace === name && now.claims?.fault, `told what is wrong with ${name}`);
    const end = await verdict(page, "verify");
    assert.equal(end.verdict, "reject", JSON.stringify(end));
    assert.equal(end.code, "structure");
  }
  await stillWorks(page);
  await page.context().close();
});

// --- cancel, offline --------------------------------------------------------------------------------------------------------

test("a job that is cancelled in the middle leaves the app usable", async () => {
  const page = await start(`?trace=${away.url}slow/samples/honest.bin`);
  await until(page, (now) => now.phase === "working", "working");
  await command(page, "cancel");
  await until(page, (now) => now.phase !== "working", "cancelled", 180);
  assert.equal((await state(page)).verdict, null);
  await command(page, "verify-sample");
  await until(page, (now) => now.stage === "prefill" || now.stage === "load" || judged(now), "in its middle", 300);
  await command(page, "cancel");
  await until(page, (now) => now.phase !== "working", "cancelled again", 180);
  await stillWorks(page);
  await page.context().close();
});

test("offline after the first load: the page, the sample and its model", async () => {
  const page = await start();
  await page.evaluate(() => navigator.serviceWorker.ready);
  // The first load is not yet under the service worker's hand; its files are there once it is active.
  await page.waitForFunction(() => navigator.serviceWorker.controller || true);
  await page.reload();
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  await page.context().setOffline(true);
  await page.reload();
  await page.waitForFunction(() => window.assay && window.assay.state() !== "", null, { timeout: 300_000 });
  await stillWorks(page);
  await page.context().close();
});

test("a link names a place, and is followed", async () => {
  const page = await start("#layer=8&token=20");
  const now = await verdict(page, "verify-sample");
  assert.deepEqual(now.selected, { layer: 8, position: 20 });
  await command(page, "next-token");
  await until(page, (now) => now.selected?.position === 21, "moved");
  await page.waitForFunction(() => location.hash === "#layer=8&token=21");
  await page.evaluate(() => {
    location.hash = "#layer=0&token=3";
  });
  await until(page, (now) => now.selected?.position === 3 && now.selected?.layer === 0, "followed");
  await page.context().close();
});

test("without an adapter the page says so", async () => {
  const plain = await launch({ webgpu: false });
  try {
    const page = await open(plain);
    await page.goto(home.url);
    await page.waitForSelector('[role="alert"]:visible, [role="alert"]:not(:empty)');
    assert.match(await page.evaluate(() => document.body.innerText), /GPU/);
    await shot(page, "no-webgpu");
  } finally {
    await plain.close();
  }
});
