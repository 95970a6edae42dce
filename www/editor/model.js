/** The model card: size and download of the model, its device, its cached files and their deletion. */
import { UniReal, UniRealError } from "../unireal.js";
import { askToKeep, use } from "./storage.js";
import { SAY, bytes, explain, storage } from "./words.js";

/** Measures the download speed over the last 3 seconds in bytes per second, without cached bytes. */
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

/**
 * @param {import("./view.js").View} view
 * @param {{ onModel: (facts: import("../unireal.d.ts").Support | import("../unireal.d.ts").ModelInfo) => void }} options
 */
export function engine({ get, show, status, emit }, { onModel }) {
  /** @type {import("../unireal.d.ts").Model | null} */
  let model = null;
  /** @type {AbortController | null} */
  let loading = null;
  /** Whether the size was shown. Only then does the button download. */
  let asked = false;
  let pack = "";
  /** @type {number | null} */
  let sampleSize = null;
  /** Count the storage queries and the pack checks; only the latest of each is shown. */
  let looks = 0;
  let checks = 0;

  function draw(state, text) {
    get("model").dataset.state = state;
    get("model-text").textContent = text;
    show("load", state === "waiting" || state === "failed");
    show("load-cancel", state === "loading");
    show("download-panel", state === "loading");
    show("load-error", state === "failed");
    get("load-label").textContent = state === "failed" ? SAY.tryAgain : SAY.download;
    drawStorage();
  }

  /** Shows the size of the cached files. A model that fails to load can be deleted, one that is loading cannot. */
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
    const code = explain(get("load-error"), error);
    status("error", SAY.loadFailed, code);
    emit("error", { code, error });
  }

  /** Checks what a load needs. A cached model is loaded immediately; a download needs the user's consent. */
  async function check() {
    const own = (checks += 1);
    draw("checking", SAY.looking);
    status("checking", "");
    asked = false;
    try {
      if (!pack) {
        throw new UniRealError("request", "no model is named; set the attribute \"pack\" to the address of its folder");
      }
      const support = await UniReal.check(pack, { device: get("device").value });
      if (own !== checks) {
        return;
      }
      if (!support.ok) {
        return failed(new UniRealError(support.code, support.message));
      }
      asked = true;
      sampleSize = support.sampleSize;
      onModel(support);
      const missing = support.bytes - support.cachedBytes;
      if (missing <= 0) {
        return void (await load().catch(() => {}));
      }
      get("load-size").textContent = bytes(missing);
      draw("waiting", SAY.oneTime);
      status("waiting", "");
    } catch (error) {
      if (own === checks) {
        failed(error);
      }
    }
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
      get("model-text").textContent = done || event.cached ? SAY.starting : SAY.downloading;
      if (event.stage === "download") {
        emit("progress", event);
      }
    };
  }

  /** Loads the model on the chosen device and replaces the current one. Rejects with the error that it shows. */
  async function load() {
    checks += 1;
    loading?.abort();
    const controller = (loading = new AbortController());
    const { signal } = controller;
    draw("loading", SAY.gettingReady);
    status("loading", SAY.loading);
    try {
      await model?.dispose();
      model = null;
      const made = await UniReal.load(pack, { device: get("device").value, onProgress: progress(), signal });
      if (signal.aborted) {
        await made.dispose();
        signal.throwIfAborted();
      }
      model = made;
      sampleSize = made.info.sampleSize;
      onModel(made.info);
      describe();
      status("ready", SAY.ready);
      emit("ready", model.info);
    } catch (error) {
      if (loading === controller && signal.aborted) {
        get("load-size").textContent = "";
        draw("waiting", SAY.stoppedKept);
        status("waiting", SAY.stopped);
      } else if (loading === controller) {
        failed(error);
      }
      throw error;
    } finally {
      if (loading === controller) {
        loading = null;
      }
    }
  }

  /** Shows the model's name, size and device. Called after each request too, because a fault may have moved the model. */
  function describe() {
    if (!model) {
      return;
    }
    const { name, device, adapter, note, bytes: size } = model.info;
    const on = device === "cpu" ? "the CPU" : adapter ? `the GPU (${adapter})` : "the GPU";
    draw("ready", `${name}, ${bytes(size)}, runs on ${on}.${note ? ` ${note}` : ""}`);
    Object.assign(get("model").dataset, { name, device, adapter, bytes: String(size) });
  }

  /** Downloads the model after a click. */
  async function download() {
    const asking = askToKeep();
    try {
      await load();
    } finally {
      await asking;
      await drawStorage();
    }
  }

  /** Deletes the cached files. If another tab is loading them, they stay and the model remains usable. */
  async function forget() {
    try {
      await UniReal.clearCache(pack);
    } catch (error) {
      const code = explain(get("load-error"), error);
      status("error", SAY.notDeleted, code);
      emit("error", { code, error });
      return;
    }
    await model?.dispose();
    model = null;
    await check();
  }

  /** Ignores a rejection that was already shown. */
  const shown = (work) => work.catch(() => {});
  get("load").addEventListener("click", () => shown(asked ? download() : check()));
  get("load-cancel").addEventListener("click", () => loading?.abort());
  get("forget").addEventListener("click", forget);
  get("device").addEventListener("change", () => {
    if (model || loading) {
      shown(load());
    } else if (pack) {
      check();
    }
  });

  return {
    /** The loaded model, or null. */
    loaded: () => model,
    /** Side of the model's images in pixels; null before a pack was checked. */
    sampleSize: () => sampleSize,
    /** Whether a load is running. */
    isLoading: () => loading !== null,
    /** Stops a load; the next one resumes there. */
    stop: () => loading?.abort(),
    describe,
    download,

    /** Switches to another pack. @param {string} url its folder, relative to the page or absolute */
    async start(url) {
      const old = this.close();
      pack = url;
      sampleSize = null;
      const own = checks;
      await old;
      // A load that was requested meanwhile is of this pack.
      if (own === checks) {
        await check();
      }
    },

    /** @param {string} device */
    setDevice(device) {
      if (get("device").value !== device) {
        get("device").value = device;
        get("device").dispatchEvent(new Event("change"));
      }
    },

    /** Frees the model and stops a load or check. */
    async close() {
      checks += 1;
      const controller = loading;
      loading = null;
      controller?.abort();
      const old = model;
      model = null;
      await old?.dispose();
    },
  };
}
