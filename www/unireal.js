/**
 * The public API: `UniReal.check`, `UniReal.load`, `model.generate`, `model.dispose`, `UniReal.storedBytes`,
 * `UniReal.clearCache`. unireal.d.ts has the types and the documentation. host.js owns the worker, and pictures.js
 * decodes images; the engine does everything else.
 */
import { UniRealError, refuse } from "./error.js";
import { callOnSpare, take } from "./host.js";
import { cachedBytes } from "./cached.js";
import { renamed } from "./renamed.js";
import { bitmap, decode, orAbort } from "./pictures.js";

export { UniRealError };

/** Returns the pack's folder as an absolute URL that ends in "/". Accepts the folder or its model_index.json. */
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

/** Devices that a model can run on, see `Device`. */
export const DEVICES = ["auto", "webgpu", "webgpu-f16", "cpu"];

function known(device) {
  if (!DEVICES.includes(device)) {
    throw refuse(`unknown device "${device}"; use ${DEVICES.slice(0, -1).join(", ")} or ${DEVICES.at(-1)}`);
  }
  return device;
}

/** Calls a user's callback. What it throws is reported as the page's own error and does not affect the call. */
function notify(callback, event) {
  try {
    callback?.(event);
  } catch (error) {
    reportError(error);
  }
}

/** Makes progress events consistent: `loaded` never decreases, `total` never changes, "ready" comes once and last. */
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

/** Builds the request for the engine. Checks types; the engine checks ranges and names and fills in defaults. */
async function prepare(given, signal) {
  const options = renamed(given, "keep", "composite");
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
  if (options.composite != null) {
    if (typeof options.composite !== "boolean") {
      throw refuse(`composite is ${String(options.composite)}, expected true or false`);
    }
    request.composite = options.composite;
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

/** A model in a worker. After a fault the worker is replaced, and the model is loaded again with the same options. */
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

  /** Returns the worker with the model in it; starts a new one and loads the model after a fault. */
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
    // Converting a preview to a bitmap is asynchronous: a queue keeps the steps in order and before the result.
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
    return cachedBytes(address(url));
  },
  async clearCache(url) {
    await callOnSpare("clearCache", { url: address(url) });
  },
});
