// The system's Chromium under playwright-core, which brings none of its own.

import fs from "node:fs";
import { chromium } from "playwright-core";

// No WebGPU in these: `navigator.gpu` exists, but there is no adapter.
const QUIET = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--force-device-scale-factor=1",
];

// With less than all of these a WebGPU canvas is white in screenshots, or the browser hangs.
const WEBGPU = [
  "--enable-unsafe-webgpu",
  "--ignore-gpu-blocklist",
  "--enable-gpu",
  "--enable-features=Vulkan",
  "--use-vulkan=swiftshader",
  "--use-angle=swiftshader",
  "--enable-unsafe-swiftshader",
];

// Where Chromium is: $CHROMIUM, or where distributions put it; null if nowhere.
export function executable() {
  const places = [
    process.env.CHROMIUM,
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
  ];
  return places.find((place) => place && fs.existsSync(place)) ?? null;
}

// Starts it. `webgpu` is SwiftShader's; `args` come on top.
export async function launch({ webgpu = true, args = [] } = {}) {
  const executablePath = executable();
  if (!executablePath) throw new Error("no Chromium here: set CHROMIUM");
  return chromium.launch({ executablePath, args: [...QUIET, ...(webgpu ? WEBGPU : []), ...args] });
}

// A page in a context of its own, which keeps what it says and how it fails: `page.said` has console lines and
// `page.faults` uncaught errors. Options are playwright's for a context.
export async function open(browser, { viewport = { width: 1280, height: 800 }, ...options } = {}) {
  const context = await browser.newContext({ viewport, ...options });
  const page = await context.newPage();
  page.said = [];
  page.faults = [];
  page.on("console", (message) => page.said.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (err) => page.faults.push(String(err)));
  page.on("crash", () => page.faults.push("the page crashed"));
  return page;
}
