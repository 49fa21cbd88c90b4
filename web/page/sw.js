// Keeps the page for offline use: all of its files, named by one version. What is listed comes from the cache, the page
// itself with whatever `?trace=` it is opened with; everything else goes to the network as if this were not here.

// Both are filled in when the page is built: the files with their SHA-256, the page itself under the empty name.
const VERSION = "";
const FILES = {};

const ROOT = new URL("./", self.location.href);
const CACHE = `assay-${VERSION}`;
// On the machine that builds it the page is asked for first, so that a reload shows the new build; it answers at once.
const AT_HOME = ["localhost", "127.0.0.1", "[::1]"].includes(self.location.hostname);

self.addEventListener("install", (event) => {
  event.waitUntil(install());
});

async function install() {
  const cache = await caches.open(CACHE);
  for (const [name, digest] of Object.entries(FILES)) {
    const address = new URL(name, ROOT).href;
    await cache.put(address, await obtain(address, digest));
  }
  // Pages that run are not disturbed: what they still want of the old version stays until `sweep`.
  await self.skipWaiting();
}

// The file of this version, from the nearest place that has it. A deployment that is half done, or a stale cache on the way,
// fails the installation instead of being kept.
async function obtain(address, digest) {
  const places = [
    () => caches.match(address),
    () => fetch(address),
    () => fetch(address, { cache: "reload" }),
  ];
  for (const place of places) {
    const response = await place();
    if (response?.ok && !response.redirected && (await sha256(response.clone())) === digest) return response;
  }
  throw new Error(`${address} is not of version ${VERSION}`);
}

async function sha256(response) {
  const digest = await crypto.subtle.digest("SHA-256", await response.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

self.addEventListener("activate", (event) => {
  event.waitUntil(windows().then((open) => (open.length === 0 ? sweep() : undefined)));
});

// A page of this version has started. If it is the only one, nobody needs older versions any more.
self.addEventListener("message", (event) => {
  if (!event.data?.assayStarted) return;
  event.waitUntil(
    Promise.all([windows(), caches.match(ROOT.href, { cacheName: CACHE }).then((own) => own?.text())]).then(
      ([open, own]) => {
        const current = own?.includes(`"id":"${event.data.assayStarted}"`);
        if (current && open.length <= 1) return sweep();
      },
    ),
  );
});

function windows() {
  return self.clients.matchAll({ type: "window", includeUncontrolled: true });
}

async function sweep() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith("assay-") && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== ROOT.origin || !url.pathname.startsWith(ROOT.pathname)) return;
  const path = url.pathname.slice(ROOT.pathname.length);
  if (path === "" || path === "index.html") {
    event.respondWith(thePage(request));
  } else if (!url.search && (Object.hasOwn(FILES, path) || isHashed(path))) {
    event.respondWith(aFile(request, new URL(path, ROOT).href));
  }
});

// A running page of an older version may want its own files.
function isHashed(path) {
  return /^(assay|boot|worker)-[0-9a-f]{12}\.(js|wasm)$/.test(path);
}

async function thePage(request) {
  if (AT_HOME) {
    try {
      return await fetch(request);
    } catch {
      // The server was ended: then this is offline use.
    }
  }
  return (await caches.match(ROOT.href, { cacheName: CACHE })) ?? fetch(request);
}

async function aFile(request, address) {
  const kept = (await caches.match(address, { cacheName: CACHE })) ?? (await caches.match(address));
  if (!kept) return fetch(request);
  const range = request.headers.get("range");
  return range === null ? kept : part(kept, range);
}

// A piece of a kept file: models are read in pieces.
async function part(response, range) {
  const bytes = await response.blob();
  const match = /^bytes=(\d*)-(\d*)$/.exec(range.trim());
  if (match === null || range === "bytes=-") return new Response(bytes, { headers: response.headers });
  const [, from, to] = match;
  const start = from === "" ? Math.max(0, bytes.size - Number(to)) : Number(from);
  const end = from === "" || to === "" ? bytes.size : Math.min(bytes.size, Number(to) + 1);
  if (start >= end) {
    return new Response(null, { status: 416, headers: { "content-range": `bytes */${bytes.size}` } });
  }
  const headers = new Headers(response.headers);
  headers.delete("content-encoding");
  headers.set("content-length", String(end - start));
  headers.set("content-range", `bytes ${start}-${end - 1}/${bytes.size}`);
  return new Response(bytes.slice(start, end), { status: 206, headers });
}
