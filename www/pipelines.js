/**
 * A cache of WebGPU compute pipelines. It stores the shaders that a visit used as text, and compiles them
 * asynchronously and in parallel while the next visit loads its weights. The first image then finds its pipelines
 * ready. Without it, each pipeline is compiled when its first use waits for it.
 *
 * The cache wraps WebGPU's own `createComputePipeline`, which returns a prepared pipeline if there is one and else
 * creates it as before.
 */

const CACHE = "unireal-pipelines";
const KEY = "/unireal-pipelines.json";

/** Number of writes after which an unused pipeline is removed, such as one of an older version or another model. */
const MAX_IDLE = 4;

/**
 * A serialisable pipeline. `groups` are the entries of its bind group layouts, or "auto" to derive them from the
 * shader.
 * @typedef {{ code: string, entryPoint?: string, groups: "auto" | GPUBindGroupLayoutEntry[][] }} Recipe
 */

/** @type {WeakMap<object, string>} */
const codes = new WeakMap();
/** @type {WeakMap<object, GPUBindGroupLayoutEntry[]>} */
const entries = new WeakMap();
/** @type {WeakMap<object, GPUBindGroupLayoutEntry[][]>} */
const layouts = new WeakMap();
/** Prepared pipelines of each device. @type {WeakMap<GPUDevice, Map<string, GPUComputePipeline>>} */
const ready = new WeakMap();
/** A stored pipeline, with the number of writes since a visit used it. @typedef {{ recipe: Recipe, idle: number }} Entry */

/** Pipelines that this visit used. @type {Map<string, Recipe>} */
const used = new Map();
/** Stored pipelines. @type {Map<string, Entry>} */
let stored = new Map();
let preparing = Promise.resolve();

/** Returns a promise that resolves when the stored pipelines are compiled; it never rejects. */
export const pipelinesPrepared = () => preparing;

/** Starts to compile the stored pipelines for a device. @param {GPUDevice} device */
export function preparePipelines(device) {
  preparing = compileStored(device).catch(() => undefined);
}

/** Wraps the functions that create pipelines, for all devices of this worker; call it before any device is created. */
export function watchPipelines() {
  const device = GPUDevice.prototype;
  wrap(device, "createShaderModule", (module, { code }) => (codes.set(module, code), module));
  wrap(device, "createBindGroupLayout", (layout, descriptor) => (entries.set(layout, descriptor.entries), layout));
  wrap(device, "createPipelineLayout", (layout, { bindGroupLayouts }) => {
    layouts.set(layout, bindGroupLayouts.map((group) => entries.get(group)));
    return layout;
  });
  const create = device.createComputePipeline;
  device.createComputePipeline = function (descriptor) {
    const recipe = describe(descriptor);
    const key = JSON.stringify(recipe);
    used.set(key, recipe);
    return ready.get(this)?.get(key) ?? create.call(this, descriptor);
  };
}

/**
 * Stores the pipelines of this visit for the next one, if any of them is new.
 * @param {(code: string) => boolean} isUsedAgain whether a later visit may use a shader
 */
export async function storePipelines(isUsedAgain) {
  for (const [key, { code }] of used) {
    if (!isUsedAgain(code)) {
      used.delete(key);
    }
  }
  if ([...used.keys()].every((key) => stored.has(key))) {
    return;
  }
  const before = stored;
  stored = new Map([...used].map(([key, recipe]) => [key, { recipe, idle: 0 }]));
  for (const [key, { recipe, idle }] of before) {
    if (!stored.has(key) && idle + 1 < MAX_IDLE) {
      stored.set(key, { recipe, idle: idle + 1 });
    }
  }
  try {
    await (await caches.open(CACHE)).put(KEY, new Response(JSON.stringify([...stored.values()])));
  } catch {
    // No storage, or it is full: the next visit compiles pipelines at their first use.
  }
}

/** Replaces a method by one that passes its result through `then`. */
function wrap(prototype, name, then) {
  const original = prototype[name];
  prototype[name] = function (...parameters) {
    return then(original.apply(this, parameters), ...parameters);
  };
}

/** @param {GPUComputePipelineDescriptor} descriptor @returns {Recipe} */
function describe({ compute, layout }) {
  // The shader and the layout came from the wrapped functions, so both are known.
  const code = /** @type {string} */ (codes.get(compute.module));
  const groups = layout === "auto" ? layout : /** @type {GPUBindGroupLayoutEntry[][]} */ (layouts.get(layout));
  return { code, entryPoint: compute.entryPoint, groups };
}

/** @param {GPUDevice} device */
async function compileStored(device) {
  const found = await (await caches.open(CACHE)).match(KEY);
  const list = found ? await found.json() : [];
  stored = new Map(list.map((/** @type {Entry} */ entry) => [JSON.stringify(entry.recipe), entry]));
  const pipelines = new Map();
  ready.set(device, pipelines);
  await Promise.allSettled([...stored].map(async ([key, { recipe }]) => {
    pipelines.set(key, await compile(device, recipe));
  }));
}

/**
 * Compiles a pipeline. Rejects if the device refuses it, without an error of the page.
 * @param {GPUDevice} device
 * @param {Recipe} recipe
 */
async function compile(device, { code, entryPoint, groups }) {
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code });
  const bindGroupLayouts = groups === "auto" ? [] : groups.map((entries) => device.createBindGroupLayout({ entries }));
  const layout = groups === "auto" ? "auto" : device.createPipelineLayout({ bindGroupLayouts });
  const error = device.popErrorScope();
  const pipeline = await device.createComputePipelineAsync({ layout, compute: { module, entryPoint } });
  if (await error) {
    throw new Error("the device refused a stored pipeline");
  }
  return pipeline;
}
