/**
 * The engine's worker: receives messages, calls `Engine` and posts its results. unireal.js decides when a worker is
 * terminated.
 *
 *   in:  { id, method, value } | { id, method: "abort" }
 *   out: { id, event } | { id, result } | { id, error: { code, message, cause?, fatal? } }
 */
import { keepPipelines, prepared, preparePipelines, watchPipelines } from "./pipelines.js";
import init, { Engine } from "./wasm/unireal.js";

/** @type {Promise<unknown> | null} */
let started = null;
/** @type {Engine | null} */
let engine = null;
/** @type {Map<number, AbortController>} */
const running = new Map();

/** Yields to the event loop. The engine awaits this between steps, so that an abort message is received. */
const turn = () => new Promise((resolve) => setTimeout(resolve));

/** Awaits a promise that never rejects, or rejects as soon as the signal aborts. */
function unlessAborted(promise, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.aborted ? abort() : signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve);
  });
}

/** Returns an image whose pixels have a buffer of their own; a view into wasm memory could not be transferred. */
function own(picture) {
  const { width, height, data } = picture;
  return { width, height, data: data.byteLength === data.buffer.byteLength ? data : data.slice() };
}

const methods = {
  check: ({ url, device }) => Engine.check(url, device),

  clearCache: ({ url }) => Engine.clearCache(url),

  async open({ url, options }, post, signal) {
    engine?.free();
    engine = null;
    engine = await Engine.open(url, options, (event) => (post({ event }), turn()), signal);
    return engine.info();
  },

  async generate({ request }, post, signal) {
    const onStep = ({ step, steps, preview }) => {
      const pictures = preview?.map(own) ?? null;
      post({ event: { step, steps, preview: pictures } }, pictures?.map(({ data }) => data.buffer));
      return turn();
    };
    await unlessAborted(prepared(), signal);
    const { images, seed, timings } = await engine.generate(request, onStep, signal);
    await keepPipelines((code) => Engine.usesShader(code));
    return { images: images.map(own), seed, timings };
  },
};

/** Converts an error to data. A trap is fatal for the instance, because it leaves wasm's memory in an unknown state. */
function describe(error) {
  if (error instanceof WebAssembly.RuntimeError) {
    return { code: "internal", message: `the engine stopped: ${error.message}`, cause: detail(error), fatal: true };
  }
  if (error?.name === "AbortError") {
    return { code: "abort", message: error.message };
  }
  if (typeof error?.code === "string" && typeof error.message === "string") {
    return { code: error.code, message: error.message };
  }
  if (error instanceof RangeError) {
    return { code: "memory", message: error.message, cause: detail(error) };
  }
  return { code: "internal", message: String(error?.message ?? error), cause: detail(error) };
}

function detail(error) {
  return { name: String(error?.name ?? typeof error), message: String(error?.message ?? error), stack: String(error?.stack ?? "") };
}

/** Compiles the wasm once. After a failure the next call fetches it again. */
async function start() {
  try {
    await (started ??= init());
  } catch (error) {
    started = null;
    const refused = error instanceof WebAssembly.CompileError || error instanceof WebAssembly.LinkError;
    const code = refused ? "unsupported" : "network";
    throw { code, message: `the engine's wasm did not start: ${error.message}` };
  }
}

self.addEventListener("message", async ({ data: { id, method, value } }) => {
  if (method === "abort") {
    running.get(id)?.abort();
    return;
  }
  const controller = new AbortController();
  running.set(id, controller);
  try {
    await start();
    controller.signal.throwIfAborted();
    const post = (message, transfer = []) => self.postMessage({ id, ...message }, transfer);
    const result = await methods[method](value, post, controller.signal);
    post({ result }, method === "generate" ? result.images.map(({ data }) => data.buffer) : []);
  } catch (error) {
    self.postMessage({ id, error: describe(error) });
  } finally {
    running.delete(id);
  }
});

/**
 * Answers the open calls with `memory` when the device is out of memory. WebGPU reports this by an event at which wgpu
 * aborts the module, so this listener is registered first. No other signal distinguishes a buffer that is too large
 * from a defect.
 */
function onDeviceError({ error }) {
  if (error instanceof GPUOutOfMemoryError || /max buffer size/.test(error.message)) {
    const message = `out of memory: the GPU has no room for what the request needs: ${error.message.split("\n")[0]}`;
    for (const id of running.keys()) {
      self.postMessage({ id, error: { code: "memory", message, fatal: true } });
    }
  }
}

if ("GPUAdapter" in self) {
  watchPipelines();
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (...given) {
    const device = await requestDevice.apply(this, given);
    device.addEventListener("uncapturederror", onDeviceError);
    preparePipelines(device);
    return device;
  };
}

// A panic inside a task that nobody awaits would leave the call open for ever. As an error event it reaches the page.
self.addEventListener("unhandledrejection", ({ reason }) => {
  if (reason instanceof WebAssembly.RuntimeError) {
    reportError(reason);
  }
});
