/**
 * The engine's worker: receives messages, calls `Engine` and posts its results. engine-worker.js starts and
 * terminates it.
 *
 *   in:  { id, method, value } | { id, method: "abort" }
 *   out: { id, event } | { id, result } | { id, error: { code, message, cause?, fatal? } }
 */
import { orAbort } from "./abort.js";
import { cachePath } from "./cache.js";
import { prepareDevices } from "./device.js";
import { pipelinesPrepared, storePipelines } from "./pipelines.js";
import init, { Engine } from "./wasm/unireal.js";

/** @type {Promise<unknown> | null} */
let started = null;
/** @type {Engine | null} */
let engine = null;
/** @type {Map<number, AbortController>} */
const running = new Map();

/** Yields to the event loop. The engine awaits this between steps, so that an abort message is received. */
const yieldToEvents = () => new Promise((resolve) => setTimeout(resolve));

/** Returns an image whose pixels have a separate buffer; a view into wasm memory could not be transferred. */
function withOwnBuffer({ width, height, data }) {
  return { width, height, data: data.byteLength === data.buffer.byteLength ? data : data.slice() };
}

const methods = {
  check: async ({ url, device }) => Engine.check(url, device, await cachePath(url)),

  async open({ url, options }, post, signal) {
    engine?.free();
    engine = null;
    const onProgress = (event) => (post({ event }), yieldToEvents());
    engine = await Engine.open(url, { ...options, cachePath: await cachePath(url) }, onProgress, signal);
    return engine.info();
  },

  async generate({ request }, post, signal) {
    const onStep = ({ step, steps, preview }) => {
      const images = preview?.map(withOwnBuffer) ?? null;
      post({ event: { step, steps, preview: images } }, images?.map(({ data }) => data.buffer));
      return yieldToEvents();
    };
    if (!engine) {
      throw { code: "internal", message: "no model is open" };
    }
    await orAbort(pipelinesPrepared(), signal);
    const { images, seed, timings } = await engine.generate(request, onStep, signal);
    await storePipelines((code) => Engine.usesShader(code));
    return { images: images.map(withOwnBuffer), seed, timings };
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
    const post = (message, transfer = []) => self.postMessage({ id, ...message }, { transfer });
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
    const message = `out of memory: the GPU cannot allocate a buffer of the request: ${error.message.split("\n")[0]}`;
    for (const id of running.keys()) {
      self.postMessage({ id, error: { code: "memory", message, fatal: true } });
    }
  }
}

prepareDevices(onDeviceError);

// A panic inside a task that is not awaited would leave the call open for ever. As an error event it reaches the page.
self.addEventListener("unhandledrejection", ({ reason }) => {
  if (reason instanceof WebAssembly.RuntimeError) {
    reportError(reason);
  }
});
