/** The model card: size and download of the model, its device, its cached files and their deletion. */
import { UniReal, UniRealError } from "../unireal.js";
import { requestPersistence, storageUse } from "./storage.js";
import { MESSAGES, bytes, explain, storage } from "./strings.js";

/** Duration over which the download speed is averaged in milliseconds. */
const SPEED_WINDOW = 3000;

/** Returns a function that measures the download speed from progress events in bytes per second, without cached bytes. */
function speedometer() {
  let last = { time: performance.now(), downloaded: 0 };
  const samples = [last];
  let before = 0;
  return ({ loaded, cached }) => {
    last = { time: performance.now(), downloaded: last.downloaded + (cached ? 0 : loaded - before) };
    samples.push(last);
    before = loaded;
    while (samples.length > 2 && last.time - samples[0].time > SPEED_WINDOW) {
      samples.shift();
    }
    const [first] = samples;
    return (1000 * (last.downloaded - first.downloaded)) / Math.max(1, last.time - first.time);
  };
}

/** Ignores a rejection whose error is already shown. */
const ignoreShown = (promise) => promise.catch(() => {});

/** @typedef {import("../unireal.d.ts").Model} Model */

/** Checks, loads, shows and frees the editor's model. */
export class ModelCard {
  #view;
  #onModel;
  /** @type {Model | null} */
  #model = null;
  /** The controller of the running load. @type {AbortController | null} */
  #loading = null;
  /** Whether the size is shown. Only then does the button download. */
  #isSizeShown = false;
  #pack = "";
  /** @type {number | null} */
  #sampleSize = null;
  /** Numbers of storage queries and pack checks so far; only the latest of each is shown. */
  #storageQueries = 0;
  #checks = 0;

  /**
   * @param {import("./view.js").View} view
   * @param {{ onModel: (facts: import("../unireal.d.ts").Support | import("../unireal.d.ts").ModelInfo) => void }} events
   */
  constructor(view, { onModel }) {
    this.#view = view;
    this.#onModel = onModel;
    const { get } = view;
    get("load").addEventListener("click", () => ignoreShown(this.#isSizeShown ? this.download() : this.#check()));
    get("load-cancel").addEventListener("click", () => this.stop());
    get("delete-model").addEventListener("click", () => this.#deleteFiles());
    get("device").addEventListener("change", () => this.#onDevice());
  }

  /** The loaded model, or null. */
  get model() {
    return this.#model;
  }

  /** Side of the model's images in pixels; null before a pack was checked. */
  get sampleSize() {
    return this.#sampleSize;
  }

  /** Whether a load is running. */
  get isLoading() {
    return this.#loading !== null;
  }

  /** Stops a load; the next one resumes there. */
  stop() {
    this.#loading?.abort();
  }

  /** Switches to another pack. @param {string} url its folder, relative to the page or absolute */
  async start(url) {
    const closed = this.close();
    this.#pack = url;
    this.#sampleSize = null;
    const checks = this.#checks;
    await closed;
    // A load that was requested meanwhile is of this pack.
    if (checks === this.#checks) {
      await this.#check();
    }
  }

  /** @param {string} device */
  setDevice(device) {
    const select = this.#view.get("device");
    if (select.value !== device) {
      select.value = device;
      select.dispatchEvent(new Event("change"));
    }
  }

  /** Downloads the model after a click. */
  async download() {
    const persistence = requestPersistence();
    try {
      await this.#load();
    } finally {
      await persistence;
      await this.#drawStorage();
    }
  }

  /** Frees the model and stops a load or check. */
  async close() {
    this.#checks += 1;
    const loading = this.#loading;
    this.#loading = null;
    loading?.abort();
    const model = this.#model;
    this.#model = null;
    await model?.dispose();
  }

  /** Shows the model's device, name and size. Called after each request too, because a fault may have moved the model. */
  describe() {
    if (!this.#model) {
      return;
    }
    const { name, device, adapter, note, bytes: size } = this.#model.info;
    const details = [device === "cpu" ? null : adapter, note].filter(Boolean).join("; ");
    this.#draw("ready", MESSAGES.runningOn(device, details, `${name}, ${bytes(size)}`));
    Object.assign(this.#view.get("model").dataset, { name, device, adapter, bytes: String(size) });
  }

  /** @param {"checking" | "waiting" | "loading" | "ready" | "failed"} state @param {string} text */
  #draw(state, text) {
    const { get, show } = this.#view;
    get("model").dataset.state = state;
    get("model-text").textContent = text;
    show("load", state === "waiting" || state === "failed");
    show("load-cancel", state === "loading");
    show("download-panel", state === "loading");
    show("load-error", state === "failed");
    get("load-label").textContent = state === "failed" ? MESSAGES.tryAgain : MESSAGES.download;
    this.#drawStorage();
  }

  /** Shows the size of the cached files. A model that fails to load can be deleted, one that is loading cannot. */
  async #drawStorage() {
    const { get } = this.#view;
    const query = (this.#storageQueries += 1);
    const isLoading = get("model").dataset.state === "loading";
    const use = isLoading ? { bytes: 0, persistent: false } : await storageUse(this.#pack);
    if (query === this.#storageQueries) {
      get("storage-text").textContent = storage(use);
      get("delete-model").disabled = use.bytes === 0;
    }
  }

  #fail(error, message = MESSAGES.loadFailed) {
    const { get, status, emit } = this.#view;
    const code = explain(get("load-error"), error);
    status("error", message, code);
    emit("error", { code, error });
  }

  #failLoad(error) {
    this.#draw("failed", "");
    this.#view.get("load-size").textContent = "";
    this.#fail(error);
  }

  /** Checks what a load needs. A cached model is loaded immediately; a download needs the user's consent. */
  async #check() {
    const check = (this.#checks += 1);
    this.#draw("checking", MESSAGES.checking);
    this.#view.status("checking", "");
    this.#isSizeShown = false;
    try {
      if (!this.#pack) {
        throw new UniRealError("request", "no model is named; set the attribute \"pack\" to the address of its folder");
      }
      const support = await UniReal.check(this.#pack, { device: this.#view.get("device").value });
      if (check === this.#checks) {
        await this.#onSupport(support);
      }
    } catch (error) {
      if (check === this.#checks) {
        this.#failLoad(error);
      }
    }
  }

  /** @param {import("../unireal.d.ts").Support} support */
  async #onSupport(support) {
    if (!support.ok) {
      this.#failLoad(new UniRealError(support.code, support.message));
      return;
    }
    this.#isSizeShown = true;
    this.#sampleSize = support.sampleSize;
    this.#onModel(support);
    const missing = support.bytes - support.cachedBytes;
    if (missing <= 0) {
      await ignoreShown(this.#load());
      return;
    }
    this.#view.get("load-size").textContent = bytes(missing);
    this.#draw("waiting", MESSAGES.oneTime);
    this.#view.status("waiting", "");
  }

  /** Returns a progress callback that draws the download. */
  #downloadBar() {
    const { get, emit } = this.#view;
    const bar = get("download-bar");
    bar.removeAttribute("value");
    get("download-bytes").textContent = "";
    get("download-speed").textContent = "";
    const speed = speedometer();
    return (event) => {
      bar.value = event.loaded / event.total;
      get("download-bytes").textContent = `${bytes(event.loaded)} of ${bytes(event.total)}`;
      const bytesPerSecond = speed(event);
      const isDone = event.loaded >= event.total;
      get("download-speed").textContent = isDone || event.cached || bytesPerSecond === 0 ? "" : `${bytes(bytesPerSecond)}/s`;
      get("model-text").textContent = isDone || event.cached ? MESSAGES.starting : MESSAGES.downloading;
      if (event.stage === "download") {
        emit("progress", event);
      }
    };
  }

  /** Loads the model on the chosen device and replaces the current one. Rejects with the error that it shows. */
  async #load() {
    this.#checks += 1;
    this.#loading?.abort();
    const controller = (this.#loading = new AbortController());
    this.#draw("loading", MESSAGES.gettingReady);
    this.#view.status("loading", MESSAGES.loading);
    try {
      await this.#model?.dispose();
      this.#model = null;
      this.#setModel(await this.#loadUnlessAborted(controller.signal));
    } catch (error) {
      if (this.#loading === controller) {
        controller.signal.aborted ? this.#drawStopped() : this.#failLoad(error);
      }
      throw error;
    } finally {
      if (this.#loading === controller) {
        this.#loading = null;
      }
    }
  }

  async #loadUnlessAborted(signal) {
    const device = this.#view.get("device").value;
    const model = await UniReal.load(this.#pack, { device, onProgress: this.#downloadBar(), signal });
    if (signal.aborted) {
      await model.dispose();
      signal.throwIfAborted();
    }
    return model;
  }

  /** @param {Model} model */
  #setModel(model) {
    this.#model = model;
    this.#sampleSize = model.info.sampleSize;
    this.#onModel(model.info);
    this.describe();
    this.#view.status("ready", MESSAGES.ready);
    this.#view.emit("ready", model.info);
  }

  #drawStopped() {
    this.#view.get("load-size").textContent = "";
    this.#draw("waiting", MESSAGES.resumes);
    this.#view.status("waiting", MESSAGES.stopped);
  }

  /** Deletes the cached files. If another tab is loading them, they stay and the model remains usable. */
  async #deleteFiles() {
    try {
      await UniReal.clearCache(this.#pack);
    } catch (error) {
      this.#fail(error, MESSAGES.notDeleted);
      return;
    }
    await this.#model?.dispose();
    this.#model = null;
    await this.#check();
  }

  #onDevice() {
    if (this.#model || this.#loading) {
      ignoreShown(this.#load());
    } else if (this.#pack) {
      this.#check();
    }
  }
}
