/**
 * Visits without a network, and new versions. The service worker (scripts/site/offline.mjs makes it) keeps one whole
 * version of the page and serves all of it; a new version waits beside it until a person asks for it. So the page, its
 * code and its wasm are always of one version.
 */
import { UPDATE } from "./words.js";

/** @param {string} id @returns {any} */
const get = (id) => document.getElementById(id);

/** How long a page that stays open goes without looking for a new version, in milliseconds. */
const LOOK_EVERY = 3_600_000;

/** Every page of this site holds this lock for as long as it is open: so one knows of the others. */
const OPEN = `unireal page ${new URL("./", document.baseURI).pathname}`;

/** @type {ServiceWorkerRegistration} */
let registration;
/** Whether a person asked this page for the new version. */
let asked = false;

function say(text) {
  get("update-text").textContent = text;
}

/** Offers the version that waits. The first version of all does not: there is none before it. */
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

/** Lets the new version take over. Another page of the old one would lose its files, or its work to a reload. */
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

/** Reloads when another version has taken over: what is fetched from then on belongs to that one. */
function follow() {
  let served = Boolean(navigator.serviceWorker.controller);
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (served || asked) {
      location.reload();
    }
    // The first visit: the service worker has the version that the page came with.
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
    // As over plain http, or in a private window: all works, with a network.
    console.warn("UniReal: this page is not kept for visits without a network:", error);
  }
}
