// Brings the module up, or says why not; then stands between it and the document: files, downloads, announcements, panics.
// Everything that the module calls is set on `window` below; everything that it offers is `window.assay`.

const build = window.assayBuild;
const fail = window.assayFail;
const $ = (id) => document.getElementById(id);

// A dropped folder is listed this far. A checkpoint has some dozens of files.
const MOST_ENTRIES = 4096;

let page = null; // once the module runs
let early = []; // files that were dropped before that

// --- starting ---------------------------------------------------------------------------------------------------------------

// WebGPU's defaults promise all of these; a browser that gives less is told apart from one that has no GPU.
const LIMITS = {
  maxStorageBuffersPerShaderStage: 8,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupStorageSize: 16384,
  maxStorageBufferBindingSize: 128 * 2 ** 20,
};

// A reason not to run; thrown where it is found.
class Reason extends Error {
  constructor(kind, message, detail) {
    super(message);
    this.kind = kind;
    this.detail = detail;
  }
}

// Waits for work that a driver can hold up, and says so before anyone thinks that nothing happens.
async function patiently(work, words) {
  const late = setTimeout(() => hint(words), 8000);
  try {
    return await work;
  } finally {
    clearTimeout(late);
    hint("");
  }
}

async function checkAdapter() {
  let adapter = null;
  let why = "requestAdapter() gave none";
  try {
    const asked = navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
    adapter = await patiently(asked, "The browser is still looking for a GPU. If this goes on, restart it.");
  } catch (err) {
    why = String(err);
  }
  if (!adapter) throw new Reason("no-adapter", "", why);
  const info = adapter.info ?? {};
  window.assayAdapter = [info.vendor, info.architecture, info.description].filter(Boolean).join(" ") || "unnamed";
  const low = Object.entries(LIMITS).filter(([name, least]) => !(adapter.limits[name] >= least));
  if (low.length > 0) {
    const lines = low.map(([name, least]) => `${name}: ${adapter.limits[name]}, needs ${least}`);
    throw new Reason("limits", lines.join("\n"), "");
  }
}

// Names what did not arrive; everything that is loaded here is one of the page's own files.
function lost(name, err) {
  return new Reason("download", `no ${name}`, `${name}: ${err.message ?? err}`);
}

async function loadModule() {
  let response;
  try {
    response = await (window.assayModule ?? fetch(build.wasm));
  } catch (err) {
    throw lost(build.wasm, err);
  }
  if (!response.ok) throw lost(build.wasm, new Error(`HTTP ${response.status}`));
  // A copy is counted and the original compiled as it arrives: only that one has an address under which the browser can
  // keep the machine code for the next visit.
  const counted = count(response.clone());
  const streams = response.headers.get("content-type")?.startsWith("application/wasm");
  const compiled = streams
    ? WebAssembly.compileStreaming(response)
    : response.arrayBuffer().then((bytes) => WebAssembly.compile(bytes));
  const [all, module] = await Promise.allSettled([counted, compiled]);
  if (all.status === "rejected") throw lost(build.wasm, all.reason);
  // It came whole, but this browser does not take it.
  if (module.status === "rejected") throw new Reason("start", String(module.reason.message), module.reason.stack);
  return module.value;
}

// Shows how much has arrived. The length was measured when the page was built, as a server that compresses sends another.
async function count(response) {
  const reader = response.body.getReader();
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes += value.byteLength;
    progress("Loading", bytes, build.wasmBytes);
  }
  if (bytes !== build.wasmBytes) throw new Error(`${bytes} bytes arrived, want ${build.wasmBytes}`);
  progress("Starting");
}

function progress(step, bytes, total) {
  $("step").textContent = step;
  const bar = $("bar");
  if (total) {
    bar.max = total;
    bar.value = Math.min(bytes, total);
    $("amount").textContent = `${(bytes / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
  } else {
    bar.removeAttribute("value");
    $("amount").textContent = "";
  }
}

function hint(text) {
  $("hint").textContent = text;
  $("hint").hidden = text === "";
}

async function loadGlue() {
  try {
    return await import(new URL(build.glue, document.baseURI));
  } catch (err) {
    throw lost(build.glue, err);
  }
}

async function start() {
  if (!window.isSecureContext) throw new Reason("insecure", "insecure context");
  if (!navigator.gpu) throw new Reason("no-webgpu", "no navigator.gpu");
  const [glue, module] = await Promise.all([loadGlue(), loadModule(), checkAdapter()]);
  window.assayWorker = () => startWorker(module);
  let started;
  try {
    await glue.default({ module_or_path: module });
    started = new glue.Page();
    watch(started);
    await patiently(started.start($("canvas")), "The GPU takes its time. If this goes on, close other pages that use it.");
  } catch (err) {
    throw new Reason("start", String(err?.message ?? err), err?.stack);
  }
  page = started;
  window.assay = page;
  if (early.length > 0) page.offer_files(early.map(([file]) => file), early.map(([, path]) => path));
  early = [];
}

function startWorker(module) {
  const worker = new Worker(new URL(build.worker, document.baseURI), { type: "module", name: "assay" });
  worker.postMessage({ assayModule: module });
  return worker;
}

// The canvas takes over once it has been painted; a tab in the background paints nothing, and is not waited for.
function handOver() {
  const done = () => {
    $("boot").hidden = true;
    document.documentElement.dataset.running = "";
  };
  const late = setTimeout(done, 1000);
  requestAnimationFrame(() => requestAnimationFrame(() => {
    clearTimeout(late);
    done();
  }));
}

// --- after a panic ----------------------------------------------------------------------------------------------------------

// Shows a panic in words. The module itself can do nothing any more, its canvas would just stand still.
function watch(started) {
  let timer = 0;
  const look = () => {
    let message = null;
    try {
      if (started.has_panicked()) message = started.panic_message() ?? "no message";
    } catch (err) {
      message = String(err);
    }
    if (message !== null) stop(message);
  };
  const stop = (message, stack) => {
    clearInterval(timer);
    // The words come first, and after an empty line the calls.
    const cut = message.indexOf("\n\n");
    const words = cut < 0 ? message : message.slice(0, cut);
    fail("panic", { message: words.trim(), detail: stack ?? message.slice(words.length).trim() });
  };
  const trapped = (event) => {
    look();
    const err = event.error ?? event.reason;
    const overflow = err instanceof RangeError && /call stack/i.test(err.message);
    // A trap without a panic: no memory left, or a stack that overflowed.
    if (window.assayFailed() === null && (err instanceof WebAssembly.RuntimeError || overflow)) {
      stop(`${err.name}: ${err.message}`, err.stack);
    }
  };
  timer = setInterval(look, 500);
  window.addEventListener("error", trapped);
  window.addEventListener("unhandledrejection", trapped);
}

// --- what the module calls --------------------------------------------------------------------------------------------------

// Says it to a screen reader.
window.assayAnnounce = (text, assertive) => {
  const region = $(assertive ? "alert" : "status");
  if (region.textContent !== text) {
    region.textContent = text;
    return;
  }
  // The same words again would not be said again.
  region.textContent = "";
  setTimeout(() => {
    if (region.textContent === "") region.textContent = text;
  }, 50);
};

// Opens the browser's dialog for "files" or a "folder".
window.assayPick = (kind) => $(kind === "folder" ? "pick-folder" : "pick-files").click();

// Offers bytes as a download.
window.assaySave = (name, mime, bytes) => {
  const address = URL.createObjectURL(new Blob([bytes], { type: mime }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  // Some browsers read the address after the click.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
};

// --- files ------------------------------------------------------------------------------------------------------------------

function offer(files) {
  if (files.length === 0) return;
  if (page) page.offer_files(files.map(([file]) => file), files.map(([, path]) => path));
  else early.push(...files);
}

for (const id of ["pick-files", "pick-folder"]) {
  $(id).addEventListener("change", (event) => {
    const chosen = [...event.target.files];
    if (chosen.length > MOST_ENTRIES) tooMany();
    offer(chosen.slice(0, MOST_ENTRIES).map((file) => [file, file.webkitRelativePath || file.name]));
    // So that the same file can be chosen again.
    event.target.value = "";
  });
}

function tooMany() {
  window.assayAnnounce(`Only the first ${MOST_ENTRIES} files of the folder were looked at`, true);
}

// Drag and drop is this file's alone: eframe would read whole files into memory.
function hasFiles(event) {
  return [...(event.dataTransfer?.types ?? [])].includes("Files");
}

let hovering = 0;
let leaving = 0;

function hover(count) {
  clearTimeout(leaving);
  if (count === hovering) return;
  hovering = count;
  page?.dragging(count);
}

function onDrag(work) {
  return (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    work(event);
  };
}

const over = onDrag((event) => {
  event.dataTransfer.dropEffect = "copy";
  // Some browsers count nothing before the drop.
  hover([...event.dataTransfer.items].filter((item) => item.kind === "file").length || 1);
});
window.addEventListener("dragenter", over, true);
window.addEventListener("dragover", over, true);
window.addEventListener("dragleave", onDrag(() => {
  // Passing from one element to the next also leaves; then `dragover` follows at once.
  clearTimeout(leaving);
  leaving = setTimeout(() => hover(0), 100);
}), true);
window.addEventListener("drop", onDrag((event) => {
  hover(0);
  // The items are gone once this returns, their entries and files stay.
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const dropped = items.map((item) => ({ entry: item.webkitGetAsEntry?.(), file: item.getAsFile() }));
  collect(dropped).then(offer);
}), true);

// All files of what was dropped, each with its path from there.
async function collect(dropped) {
  const files = [];
  let entries = 0;
  const visit = async (entry) => {
    if (entries++ >= MOST_ENTRIES) return;
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      files.push([file, entry.fullPath.replace(/^\//, "")]);
      return;
    }
    const reader = entry.createReader();
    // A folder is handed out in parts; an empty one is the last.
    while (entries < MOST_ENTRIES) {
      const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (part.length === 0) break;
      for (const inner of part) await visit(inner).catch(() => unreadable(inner.name));
    }
  };
  for (const { entry, file } of dropped) {
    if (entry?.isDirectory) await visit(entry).catch(() => unreadable(entry.name));
    else if (file) files.push([file, file.name]);
  }
  if (entries >= MOST_ENTRIES) tooMany();
  return files;
}

function unreadable(name) {
  window.assayAnnounce(`${name} could not be read`, true);
}

// --- address and offline ----------------------------------------------------------------------------------------------------

window.addEventListener("hashchange", () => page?.link(location.hash));

// Keeps the page for offline use. After the start, as it downloads the demo too. A new version is fetched in the background
// and shown by the next load; nothing changes under a running page.
async function keepOffline() {
  if (!navigator.serviceWorker) return;
  try {
    await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
    const { active } = await navigator.serviceWorker.ready;
    active.postMessage({ assayStarted: build.id });
  } catch (err) {
    // Private windows and full disks: the page works, just not offline.
    console.info("Assay will not be available offline:", err.message);
  }
}

start().then(
  () => {
    handOver();
    keepOffline();
  },
  (err) => fail(err.kind ?? "start", { message: err.message, detail: err.detail ?? err.stack }),
);
