/**
 * Offline visits and new versions. The service worker (built by scripts/site/offline.mjs) caches a complete version of
 * the page and serves all of it. A new version waits until the user asks for it. The page, its code and its wasm are
 * therefore always of the same version.
 */
import { UPDATE } from "./strings.js";

/** @param {string} id @returns {any} */
const get = (id) => document.getElementById(id);

/** Milliseconds between two checks for a new version by a page that stays open. */
const CHECK_INTERVAL = 3_600_000;

/** Name of a lock that every open page of this site holds, which tells whether others are open. */
const PAGE_LOCK = `unireal page ${new URL("./", document.baseURI).pathname}`;

/** @type {ServiceWorkerRegistration} */
let registration;
/** Whether the user asked this page for the new version. */
let isUpdating = false;

function showText(text) {
  get("update-text").textContent = text;
}

/** Offers the version that waits. The very first version is not offered, because none is active before it. */
function offerUpdate() {
  if (registration.waiting && registration.active && !isUpdating) {
    showText(UPDATE.available);
    get("update-actions").hidden = false;
  }
}

function dismiss() {
  showText("");
  get("update-actions").hidden = true;
}

async function isOpenElsewhere() {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  return held.filter(({ name }) => name === PAGE_LOCK).length > 1;
}

/** Activates the new version, unless another page is open: it would lose its files, or its state by a reload. */
async function update() {
  if (await isOpenElsewhere()) {
    showText(UPDATE.elsewhere);
    return;
  }
  const { waiting } = registration;
  if (!waiting) {
    location.reload();
    return;
  }
  isUpdating = true;
  showText(UPDATE.running);
  waiting.postMessage({ type: "SKIP_WAITING" });
}

/** Reloads when another version takes over, because later fetches return files of that version. */
function reloadOnNewVersion() {
  let isServed = Boolean(navigator.serviceWorker.controller);
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (isServed || isUpdating) {
      location.reload();
    }
    // On the first visit, the service worker takes over with the version of the page.
    isServed = true;
  });
}

function checkRegularly() {
  let checked = Date.now();
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && Date.now() - checked > CHECK_INTERVAL) {
      checked = Date.now();
      registration.update().catch((error) => console.warn("UniReal: the check for a new version failed:", error));
    }
  });
}

/** @param {string} url of the service worker */
export async function start(url) {
  try {
    navigator.locks?.request(PAGE_LOCK, { mode: "shared" }, () => new Promise(() => {})).catch(console.warn);
    reloadOnNewVersion();
    get("update-now").addEventListener("click", update);
    get("update-later").addEventListener("click", dismiss);
    registration = await navigator.serviceWorker.register(url);
    const offerWhenReady = (worker) => worker?.addEventListener("statechange", offerUpdate);
    offerWhenReady(registration.installing);
    registration.addEventListener("updatefound", () => offerWhenReady(registration.installing));
    offerUpdate();
    checkRegularly();
  } catch (error) {
    // For example over plain HTTP or in a private window: everything works, but only online.
    console.warn("UniReal: this page is not available offline:", error);
  }
}
