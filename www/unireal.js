/**
 * The public API: `UniReal.check`, `UniReal.load`, `model.generate`, `model.dispose`, `UniReal.storedBytes`,
 * `UniReal.clearCache`. unireal.d.ts has the types and the documentation. engine-worker.js starts and terminates
 * workers, images.js converts images, and cache.js knows where packs are cached; the engine does everything else.
 */
import { orAbort } from "./abort.js";
import { cachedBytes, clearCache } from "./cache.js";
import { callOnIdleWorker, takeWorker } from "./engine-worker.js";
import { UniRealError, requestError } from "./error.js";
import { decode, toBitmap } from "./images.js";
import { renamed } from "./renamed.js";

export { UniRealError };

/** Returns the pack's folder as an absolute URL that ends in "/". Accepts the folder or its model_index.json. */
function address(url) {
  let folder;
  try {
    folder = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch (cause) {
    throw requestError(`"${url}" is not a URL of a model's folder`, { cause });
  }
  if (!/^https?:$/.test(folder.protocol)) {
    throw requestError(`a model's folder is read over http or https, not ${folder.protocol}`);
  }
  folder.hash = "";
  folder.pathname = folder.pathname.replace(/\/?(model_index\.json)?$/, "/");
  return folder.href;
}

/** All values of `Device`. @type {readonly import("./unireal.d.ts").Device[]} */
export const DEVICES = ["auto", "webgpu", "webgpu-f16", "cpu"];

/** Calls a user's callback. What it throws is reported as the page's own error and does not affect the call. */
function notify(callback, event) {
  try {
    callback?.(event);
  } catch (error) {
    reportError(error);
  }
}

/** Passes on progress events such that `loaded` never decreases, `total` never changes, and "ready" comes once and last. */
function progressReports(callback) {
  let loaded = 0;
  let total = null;
  let cached = true;
  return {
    on(event) {
      if (event.stage !== "download") {
        return;
      }
      total ??= event.total;
      loaded = Math.min(total, Math.max(loaded, event.loaded));
      cached &&= event.cached;
      notify(callback, { stage: "download", loaded, total, cached: event.cached });
    },
    ready({ bytes }) {
      total ??= bytes;
      notify(callback, { stage: "ready", loaded: total, total, cached });
    },
  };
}

/** The fields of a request without its images. The engine checks them and fills in defaults (src/web/request.rs). */
const FIELDS = [
  "prompt", "context", "width", "height", "outputs", "steps", "method", "guidance", "imageGuidance", "composite", "seed", "previewEvery",
];

/**
 * Builds the request for the engine, which checks it. Here, images become pixels, because only the page can read them,
 * and a missing seed becomes a random one.
 */
async function prepare(given, signal) {
  const options = renamed(given, "keep", "composite");
  const request = Object.fromEntries(FIELDS.map((name) => [name, options[name]]));
  request.seed ??= crypto.getRandomValues(new Uint32Array(1))[0];
  if (!Array.isArray(options.images)) {
    return { ...request, images: options.images };
  }
  request.images = [];
  for (const [index, entry] of options.images.entries()) {
    request.images.push({ ...(await decode(entry?.image, `IMG${index + 1}`, signal)), role: entry.role });
  }
  return request;
}

/** The key of the method for `await using`; older browsers lack it. @type {typeof Symbol.asyncDispose} */
const ASYNC_DISPOSE = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");

/** @typedef {import("./unireal.d.ts").Model} PublicModel */

/**
 * A model in a worker. After a fault the worker is replaced, and the model is loaded again with the same options.
 * @implements {PublicModel}
 */
class Model {
  #url;
  #options;
  /** @type {ReturnType<typeof takeWorker> | null} */
  #worker = null;
  /** @type {import("./unireal.d.ts").ModelInfo | null} */
  #info = null;
  #busy = false;
  #end = new AbortController();

  /** @param {string} url @param {{ device: string, cache: string }} options */
  constructor(url, options) {
    this.#url = url;
    this.#options = options;
  }

  /** @param {string | URL} url @param {import("./unireal.d.ts").LoadOptions} [options] */
  static async load(url, { device = "auto", cache = "opfs", onProgress, signal } = {}) {
    signal?.throwIfAborted();
    const model = new Model(address(url), { device, cache });
    await model.#open(onProgress, signal);
    return model;
  }

  get info() {
    // Set by `load` before it returns the model.
    return /** @type {import("./unireal.d.ts").ModelInfo} */ (this.#info);
  }

  /**
   * Returns the worker with the model in it; starts a new one and loads the model after a fault.
   * @param {import("./unireal.d.ts").LoadOptions["onProgress"]} onProgress
   * @param {AbortSignal} [signal]
   */
  async #open(onProgress, signal) {
    if (this.#worker) {
      await orAbort(this.#worker.settled(), signal);
    }
    if (this.#worker?.alive) {
      return this.#worker;
    }
    const reports = progressReports(onProgress);
    const worker = takeWorker();
    try {
      const value = { url: this.#url, options: this.#options };
      this.#info = Object.freeze(await worker.call("open", value, { onEvent: reports.on, signal }));
    } catch (error) {
      worker.retire();
      throw error;
    }
    this.#worker = worker;
    reports.ready(this.info);
    return worker;
  }

  /**
   * Callers without types may leave the options out; the engine then says that the prompt is missing.
   * @param {import("./unireal.d.ts").GenerateOptions} options
   */
  async generate(options = /** @type {any} */ ({})) {
    if (this.#end.signal.aborted) {
      throw requestError("the model was disposed; load it again");
    }
    if (this.#busy) {
      throw new UniRealError("busy", "the model is busy with another request; wait for it or cancel it");
    }
    this.#busy = true;
    try {
      const signal = AbortSignal.any([this.#end.signal, ...(options.signal ? [options.signal] : [])]);
      signal.throwIfAborted();
      return await this.#run(options, signal);
    } finally {
      this.#busy = false;
    }
  }

  async #run(options, signal) {
    const request = await prepare(options, signal);
    const worker = await this.#open(undefined, signal);
    // Converting a preview to a bitmap is asynchronous: a queue keeps the steps in order and before the result.
    let queue = Promise.resolve();
    const onEvent = ({ step, steps, preview }) => {
      queue = queue.then(async () => {
        const bitmaps = preview && (await Promise.all(preview.map(toBitmap)));
        if (signal.aborted) {
          bitmaps?.forEach((bitmap) => bitmap.close());
        } else {
          notify(options.onStep, { step, steps, preview: bitmaps });
        }
      }).catch(reportError);
    };
    const transfer = Array.isArray(request.images) ? request.images.map(({ data }) => data.buffer) : [];
    const { images, seed, timings } = await worker.call("generate", { request }, { transfer, onEvent, signal });
    await queue;
    return { images: await Promise.all(images.map(toBitmap)), seed, timings };
  }

  async dispose() {
    this.#end.abort(new DOMException("the model was disposed", "AbortError"));
    this.#worker?.close();
    this.#worker = null;
  }

  [ASYNC_DISPOSE]() {
    return this.dispose();
  }
}

/** @type {typeof import("./unireal.d.ts").UniReal} */
export const UniReal = Object.freeze({
  async check(url, { device = "auto", signal } = {}) {
    return callOnIdleWorker("check", { url: address(url), device }, signal);
  },
  async load(url, options) {
    return Model.load(url, options);
  },
  async storedBytes(url) {
    return cachedBytes(address(url));
  },
  async clearCache(url) {
    await clearCache(address(url));
  },
});
