// What must run before the first paint and on any browser: the theme, and why the page cannot run. Inlined into the page.
// Written for browsers that know no modules, so that they can be told so.
(function () {
  "use strict";
  var root = document.documentElement;
  var THEMES = ["light", "dark", "system"];

  // Sets the theme, and keeps it if it is new. The module calls this too.
  window.assayTheme = function (name) {
    var theme = THEMES.indexOf(name) < 0 ? "system" : name;
    try {
      if (window.localStorage.getItem("assay-theme") !== theme) window.localStorage.setItem("assay-theme", theme);
    } catch (err) { /* storage may be forbidden: then the theme lasts as long as the page */ }
    paint(theme);
  };

  function stored() {
    try {
      // Or what the app keeps with its other settings.
      return window.localStorage.getItem("assay-theme") || JSON.parse(window.localStorage.getItem("assay-settings")).theme;
    } catch (err) {
      return null;
    }
  }

  function paint(theme) {
    var light = theme === "light" ||
      (theme !== "dark" && !!window.matchMedia && window.matchMedia("(prefers-color-scheme: light)").matches);
    root.setAttribute("data-theme", light ? "light" : "dark");
    var meta = document.querySelector('meta[name="theme-color"]');
    if (meta) meta.setAttribute("content", light ? "#f7f8f8" : "#101418");
  }

  paint(stored());
  if (window.matchMedia) {
    var query = window.matchMedia("(prefers-color-scheme: light)");
    var follow = function () { paint(stored()); };
    if (query.addEventListener) query.addEventListener("change", follow);
    else if (query.addListener) query.addListener(follow);
  }

  var build = {};
  try { build = JSON.parse(document.getElementById("assay-build").textContent); } catch (err) { /* as from disk */ }
  window.assayBuild = build;

  var failed = null;

  // Shows why the page cannot run or go on. The first reason stands; a panic replaces any.
  // `fill` has texts for the places that the reason's template leaves open.
  window.assayFail = function (kind, fill) {
    if (failed && kind !== "panic") return;
    failed = kind;
    if (document.readyState === "loading") {
      document.addEventListener("DOMContentLoaded", function () { show(kind, fill || {}); });
    } else {
      show(kind, fill || {});
    }
  };
  window.assayFailed = function () { return failed; };

  function show(kind, fill) {
    if (failed !== kind) return;
    var fault = document.getElementById("fault");
    var reason = document.getElementById("reason");
    var template = document.getElementById("why-" + kind);
    fill.detail = about(kind, fill);
    fill.origin = location.origin;
    fill.local = "http://localhost:" + (location.port || "8080") + location.pathname;
    fill.tunnel = "ssh -L " + (location.port || "8080") + ":localhost:" + (location.port || "80") + " " + location.hostname;
    // The templates are the page's own; whatever came from elsewhere goes in as text.
    reason.innerHTML = template.innerHTML;
    each(reason, "[data-fill]", function (place) {
      place.textContent = fill[place.getAttribute("data-fill")] || "";
    });
    each(reason, '[data-act="reload"]', function (button) {
      button.addEventListener("click", function () { location.reload(); });
    });
    each(reason, '[data-act="copy"]', function (button) {
      button.addEventListener("click", function () { copy(button, fill.detail); });
    });
    each(reason, '[data-browser="' + browser() + '"]', function (item) { item.className = "here"; });
    document.getElementById("boot").hidden = true;
    document.getElementById("canvas").hidden = true;
    fault.hidden = false;
    root.setAttribute("data-failed", kind);
    document.title = "Assay: " + reason.querySelector("h1").textContent;
    reason.querySelector("h1").focus();
  }

  function each(within, selector, work) {
    Array.prototype.forEach.call(within.querySelectorAll(selector), work);
  }

  // What a bug report wants to know. Not the address: its ?trace= is nobody else's business.
  function about(kind, fill) {
    var lines = ["Assay " + (build.version || "from source") + (build.id ? " (" + build.id + ")" : "") + ", " + kind];
    if (fill.message) lines.push(fill.message);
    if (fill.detail) lines.push(fill.detail);
    if (window.assayAdapter) lines.push("adapter: " + window.assayAdapter);
    lines.push(navigator.userAgent);
    return lines.join("\n");
  }

  function browser() {
    var agent = navigator.userAgent;
    if (/Firefox\//.test(agent)) return "firefox";
    if (/Chrome\/|Chromium\//.test(agent)) return "chromium";
    return /Safari\//.test(agent) ? "safari" : "other";
  }

  function copy(button, text) {
    function done(word) {
      button.textContent = word;
      setTimeout(function () { button.textContent = "Copy details"; }, 2000);
    }
    function byHand() {
      var area = document.createElement("textarea");
      area.value = text;
      area.className = "unseen";
      document.body.appendChild(area);
      area.select();
      var copied = false;
      try { copied = document.execCommand("copy"); } catch (err) { /* said below */ }
      document.body.removeChild(area);
      done(copied ? "Copied" : "Could not copy");
    }
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(function () { done("Copied"); }, byHand);
    else byHand();
  }

  // A script that does not arrive says so only to the window, and only while the event goes down.
  window.addEventListener("error", function (event) {
    var script = event.target;
    if (script && script.tagName === "SCRIPT") window.assayFail("download", { detail: "no answer for " + script.src });
  }, true);

  if (location.protocol === "file:" || !build.wasm) return window.assayFail("unserved");
  if (!("noModule" in document.createElement("script"))) return window.assayFail("old-browser");
  if (typeof WebAssembly !== "object") return window.assayFail("no-wasm");
  // The largest download starts while the rest of the page is still on its way.
  if (navigator.gpu) window.assayModule = fetch(build.wasm);
})();
