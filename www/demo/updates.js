/**
 * Offline visits and new versions. The service worker (built by scripts/site/offline.mjs) caches a complete version of
 * the page and serves all of it. A new version waits until the user asks for it. The page, its code and its wasm are
 * therefore always of the same version.
 */
import { UPDATE } from "./words.js";

/** @param {string} id @returns {any} */
const get = (id) => document.getElementById(id);

/** Milliseconds between two checks for a new version by a page that stays open. */
const LOOK_EVERY = 3_600_000;

/** Name of a lock that every open page of this site holds, which tells whether others are open. */
const OPEN = `unireal page ${new URL("./", document.baseURI).pathname}`;

/** @type {ServiceWorkerRegistration} */
let registration;
/** Whether the user asked this page for the new version. */
let asked = false;

function say(text) {
  get("update-text").textContent = text;
}

/** Offers the version that waits. The very first version is not offered, because none is active before it. */
function offer() {
  if (registration.waiting && registration.active && !asked) {
    say(UPDATE.here);
    get("update-actions").hidden = false;
  }
}

function later() {
  say("");
  get("update-actions").hidden = true;
}

async function isOpenElsewhere() {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  return held.filter(({ name }) => name === OPEN).length > 1;
}

/** Activates the new version, unless another page is open: it would lose its files, or its state by a reload. */
async function update() {
  if (await isOpenElsewhere()) {
    say(UPDATE.elsewhere);
    return;
  }
  const { waiting } = registration;
  if (!waiting) {
    location.reload();
    return;
  }
  asked = true;
  say(UPDATE.running);
  waiting.postMessage({ type: "SKIP_WAITING" });
}

/** Reloads when another version takes over, because later fetches return files of that version. */
function follow() {
  let served = Boolean(navigator.serviceWorker.controller);
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (served || asked) {
      location.reload();
    }
    // On the first visit, the service worker takes over with the version of the page.
    served = true;
  });
}

function lookAgain() {
  let looked = Date.now();
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && Date.now() - looked > LOOK_EVERY) {
      looked = Date.now();
      registration.update().catch((error) => console.warn("UniReal: no look for a new version:", error));
    }
  });
}

/** @param {string} url of the service worker */
export async function start(url) {
  try {
    navigator.locks?.request(OPEN, { mode: "shared" }, () => new Promise(() => {})).catch(console.warn);
    follow();
    get("update-now").addEventListener("click", update);
    get("update-later").addEventListener("click", later);
    registration = await navigator.serviceWorker.register(url);
    const watch = (worker) => worker?.addEventListener("statechange", offer);
    watch(registration.installing);
    registration.addEventListener("updatefound", () => watch(registration.installing));
    offer();
    lookAgain();
  } catch (error) {
    // For example over plain HTTP or in a private window: everything works, but only online.
    console.warn("UniReal: this page is not kept for visits without a network:", error);
  }
}
