/** The model's card: what it would take, the download, what it runs on, what is kept of it, and deleting that. */
import { UniReal } from "../unireal.js";
import { get, show, status } from "./page.js";
import { askToKeep, use } from "./storage.js";
import { bytes, explain, storage } from "./words.js";

/** @type {import("../unireal.d.ts").Model | null} */
let model = null;
/** @type {AbortController | null} */
let loading = null;
/** Whether the size was shown: only then may a press on the button download. */
let asked = false;
let pack = "";
/** Counts the looks at the storage: only the latest is shown. */
let looks = 0;

/** The loaded model, or null. */
export const loaded = () => model;

/** Whether a load is under way. */
export const isLoading = () => loading !== null;

/** Stops a load; what has arrived is kept. */
export const stop = () => loading?.abort();

function draw(state, text) {
  get("model").dataset.state = state;
  get("model-text").textContent = text;
  show("load", state === "waiting" || state === "failed");
  show("load-cancel", state === "loading");
  show("download-panel", state === "loading");
  show("load-error", state === "failed");
  get("load-label").textContent = state === "failed" ? "Try again" : "Download the model";
  drawStorage();
}

/** Shows what is kept of the model. Also one that does not open can be deleted, but none that is being loaded. */
async function drawStorage() {
  const look = (looks += 1);
  const found = get("model").dataset.state === "loading" ? { bytes: 0, promised: false } : await use(pack);
  if (look === looks) {
    get("storage-text").textContent = storage(found);
    get("forget").disabled = found.bytes === 0;
  }
}

function failed(error) {
  draw("failed", "");
  get("load-size").textContent = "";
  status("error", "The model could not be loaded.", explain(get("load-error"), error));
}

/** Asks what a load would take. What is here already is loaded at once; a download waits for consent. */
export async function check() {
  draw("checking", "Looking at what it needs…");
  status("checking", "");
  asked = false;
  try {
    const support = await UniReal.check(pack);
    if (!support.ok) {
      return failed(support);
    }
    asked = true;
    const missing = support.bytes - support.cachedBytes;
    if (missing <= 0) {
      return await load();
    }
    get("load-size").textContent = bytes(missing);
    draw("waiting", "A one-time download. It is kept in this browser, so the next visit starts at once.");
    status("waiting", "");
  } catch (error) {
    failed(error);
  }
}

/** Bytes a second over the last seconds, of what really came over the network. */
function speedometer() {
  const seen = [{ at: performance.now(), arrived: 0 }];
  let before = 0;
  return ({ loaded: sum, cached }) => {
    const last = seen.at(-1);
    seen.push({ at: performance.now(), arrived: last.arrived + (cached ? 0 : sum - before) });
    before = sum;
    while (seen.length > 2 && seen.at(-1).at - seen[0].at > 3000) {
      seen.shift();
    }
    const { at, arrived } = seen.at(-1);
    return (1000 * (arrived - seen[0].arrived)) / Math.max(1, at - seen[0].at);
  };
}

function progress() {
  const bar = get("download-bar");
  bar.removeAttribute("value");
  get("download-bytes").textContent = "";
  get("download-speed").textContent = "";
  const speed = speedometer();
  return (event) => {
    bar.value = event.loaded / event.total;
    get("download-bytes").textContent = `${bytes(event.loaded)} of ${bytes(event.total)}`;
    const rate = speed(event);
    const done = event.loaded >= event.total;
    get("download-speed").textContent = done || event.cached || rate === 0 ? "" : `${bytes(rate)}/s`;
    get("model-text").textContent = done || event.cached ? "Starting…" : "Downloading…";
  };
}

/** Loads the model on the chosen device, in place of the one there. */
export async function load() {
  loading?.abort();
  const controller = (loading = new AbortController());
  const { signal } = controller;
  draw("loading", "Getting ready…");
  status("loading", "Loading the model.");
  try {
    await model?.dispose();
    model = null;
    const made = await UniReal.load(pack, { device: get("device").value, onProgress: progress(), signal });
    if (signal.aborted) {
      await made.dispose();
      signal.throwIfAborted();
    }
    model = made;
    describe();
    status("ready", "The model is ready.");
  } catch (error) {
    if (loading !== controller) {
      return;
    }
    if (signal.aborted) {
      get("load-size").textContent = "";
      draw("waiting", "Stopped. What has arrived is kept.");
      status("waiting", "Download stopped.");
    } else {
      failed(error);
    }
  } finally {
    if (loading === controller) {
      loading = null;
    }
  }
}

/** Says what runs where; called again after each edit, since a fault may have moved the model. */
export function describe() {
  const { name, device, adapter, note, bytes: size } = model.info;
  const on = device === "cpu" ? "the CPU" : adapter ? `the GPU (${adapter})` : "the GPU";
  draw("ready", `${name}, ${bytes(size)}, runs on ${on}.${note ? ` ${note}` : ""}`);
  Object.assign(get("model").dataset, { name, device, adapter, bytes: String(size) });
}

/** A download that somebody asked for. */
async function download() {
  const asking = askToKeep();
  await load();
  await asking;
  await drawStorage();
}

async function forget() {
  await model?.dispose();
  model = null;
  try {
    await UniReal.clearCache(pack);
    await check();
  } catch (error) {
    failed(error);
  }
}

/** @param {string} url the pack's folder, relative to the page or absolute */
export function start(url) {
  pack = url;
  get("load").addEventListener("click", () => (asked ? download() : check()));
  get("load-cancel").addEventListener("click", stop);
  get("forget").addEventListener("click", forget);
  get("device").addEventListener("change", () => (model || loading) && load());
  check();
}
