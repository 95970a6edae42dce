/**
 * UniReal in the page: `UniReal.check`, `UniReal.load`, `model.generate`, `model.dispose`, `UniReal.storedBytes`,
 * `UniReal.clearCache`. The types and the documentation of every item are in unireal.d.ts; host.js owns the Worker, pictures.js
 * the decoding. Everything from pixels and text to pixels is the engine's.
 */
import { UniRealError, refuse } from "./error.js";
import { callOnSpare, take } from "./host.js";
import { keptBytes } from "./kept.js";
import { bitmap, decode, orAbort } from "./pictures.js";

export { UniRealError };

/** The pack's folder as an absolute URL that ends in "/", whatever of it was named. */
function address(url) {
  let folder;
  try {
    folder = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch (cause) {
    throw refuse(`"${url}" is not a URL of a model's folder`, { cause });
  }
  if (!/^https?:$/.test(folder.protocol)) {
    throw refuse(`a model's folder is read over http or https, not ${folder.protocol}`);
  }
  folder.hash = "";
  folder.pathname = folder.pathname.replace(/\/?(model_index\.json)?$/, "/");
  return folder.href;
}

/** Where a model can run, see `Device`. */
export const DEVICES = ["auto", "webgpu", "webgpu-f16", "cpu"];

function known(device) {
  if (!DEVICES.includes(device)) {
    throw refuse(`unknown device "${device}"; use ${DEVICES.slice(0, -1).join(", ")} or ${DEVICES.at(-1)}`);
  }
  return device;
}

/** Runs a user's callback; what it throws is reported as the page's own error and does not disturb the call. */
function notify(callback, event) {
  try {
    callback?.(event);
  } catch (error) {
    reportError(error);
  }
}

/** Holds the laws of progress: `loaded` never falls, `total` never changes, "ready" comes once and last. */
function progress(callback) {
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

/** The request as the engine reads it. Types are checked here; ranges, names and defaults are the engine's. */
async function prepare(options, signal) {
  const { prompt, images = [], context } = options;
  if (typeof prompt !== "string") {
    throw refuse(`prompt is ${typeof prompt}; say in words what the result should be`);
  }
  if (!Array.isArray(images)) {
    throw refuse("images is not an array; give [{ image, role }]");
  }
  if (context != null && !(Array.isArray(context) && context.every((tag) => typeof tag === "string"))) {
    throw refuse("context is not an array of tags; leave it out to derive them from the request");
  }
  const request = { prompt, context: context ?? null };
  for (const name of ["width", "height", "outputs", "steps", "seed", "previewEvery", "guidance", "imageGuidance"]) {
    const value = options[name];
    if (value == null) {
      continue;
    }
    const real = name === "guidance" || name === "imageGuidance";
    if (typeof value !== "number" || !(real || (Number.isSafeInteger(value) && value >= 0))) {
      throw refuse(`${name} of ${String(value)}; it must be ${real ? "a number" : "a whole number, zero or more"}`);
    }
    request[name] = value;
  }
  if (("width" in request) !== ("height" in request)) {
    throw refuse("width and height come together: give both or neither");
  }
  if (options.method != null) {
    request.method = String(options.method);
  }
  if (options.keep != null) {
    if (typeof options.keep !== "boolean") {
      throw refuse(`keep of ${String(options.keep)}; it must be true or false`);
    }
    request.keep = options.keep;
  }
  request.seed ??= crypto.getRandomValues(new Uint32Array(1))[0];
  request.images = [];
  for (const [index, entry] of images.entries()) {
    if (typeof entry?.role !== "string") {
      throw refuse(`IMG${index + 1} has no role; use canvas, asset or control`);
    }
    request.images.push({ ...(await decode(entry.image, `IMG${index + 1}`, signal)), role: entry.role });
  }
  return request;
}

/** A model in a worker. The worker may be replaced after a fault; the model's address and options outlive it. */
class Model {
  #url;
  #options;
  #host = null;
  #info = null;
  #busy = false;
  #end = new AbortController();

  constructor(url, options) {
    this.#url = url;
    this.#options = options;
  }

  static async load(url, { device = "auto", cache = "opfs", onProgress, signal } = {}) {
    signal?.throwIfAborted();
    known(device);
    if (!["opfs", "none"].includes(cache)) {
      throw refuse(`unknown cache "${cache}"; use opfs or none`);
    }
    const model = new Model(address(url), { device, cache });
    await model.#open(onProgress, signal);
    return model;
  }

  get info() {
    return this.#info;
  }

  /** A worker with the model in it: the one there is, or after a fault a new one. */
  async #open(onProgress, signal) {
    if (this.#host) {
      await orAbort(this.#host.settled(), signal);
    }
    if (this.#host?.alive) {
      return this.#host;
    }
    const laws = progress(onProgress);
    const host = take();
    try {
      const value = { url: this.#url, options: this.#options };
      this.#info = Object.freeze(await host.call("open", value, { onEvent: laws.on, signal }));
    } catch (error) {
      host.retire();
      throw error;
    }
    this.#host = host;
    laws.ready(this.#info);
    return host;
  }

  async generate(options = {}) {
    if (this.#end.signal.aborted) {
      throw refuse("the model was disposed; load it again");
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
    const host = await this.#open(undefined, signal);
    // Turning a preview into a bitmap takes a moment: one queue keeps the steps in order and before the result.
    let queue = Promise.resolve();
    const onEvent = ({ step, steps, preview }) => {
      queue = queue.then(async () => {
        const pictures = preview && (await Promise.all(preview.map(bitmap)));
        if (signal.aborted) {
          pictures?.forEach((picture) => picture.close());
        } else {
          notify(options.onStep, { step, steps, preview: pictures });
        }
      }).catch(reportError);
    };
    const transfer = request.images.map(({ data }) => data.buffer);
    const { images, seed, timings } = await host.call("generate", { request }, { transfer, onEvent, signal });
    await queue;
    return { images: await Promise.all(images.map(bitmap)), seed, timings };
  }

  async dispose() {
    this.#end.abort(new DOMException("the model was disposed", "AbortError"));
    this.#host?.close();
    this.#host = null;
  }

  [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]() {
    return this.dispose();
  }
}

export const UniReal = Object.freeze({
  async check(url, { device = "auto", signal } = {}) {
    return callOnSpare("check", { url: address(url), device: known(device) }, signal);
  },
  load: (url, options) => Model.load(url, options),
  async storedBytes(url) {
    return keptBytes(address(url));
  },
  async clearCache(url) {
    await callOnSpare("clearCache", { url: address(url) });
  },
});
