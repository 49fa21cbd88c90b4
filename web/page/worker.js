// The worker that owns the GPU: the same module as the page's, compiled once there and sent here. Until the module listens,
// messages wait.
import init, { worker_main } from "./assay.js";

const waiting = [];
let module = null;

// Only an uncaught error reaches the page, as the worker's `error` event; a rejected promise does not.
function die(reason) {
  setTimeout(() => {
    throw reason;
  });
}

function hold(event) {
  // First in line, so that the module hears nothing out of order.
  event.stopImmediatePropagation();
  if (module === null) {
    module = event.data.assayModule;
    start().catch(die);
  } else {
    waiting.push(event.data);
  }
}

async function start() {
  await init({ module_or_path: module });
  await worker_main();
  self.removeEventListener("message", hold);
  for (const data of waiting) {
    self.dispatchEvent(new MessageEvent("message", { data }));
  }
}

self.addEventListener("message", hold);
self.addEventListener("unhandledrejection", (event) => die(event.reason));
