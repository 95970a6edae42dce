/**
 * Compute pipelines before they are needed. What an earlier visit compiled is kept as text, and compiled again while the weights
 * come, all at once and beside the page; the first picture then finds its pipelines ready. Without this every pipeline is compiled
 * when its first use waits for it, one after the other.
 *
 * A pipeline is asked for through WebGPU's own function, which answers with one that is ready. Nothing else changes: what is not
 * ready is made as before.
 */

const CACHE = "unireal-pipelines";
const KEY = "/unireal-pipelines.json";

/** Writings after which a pipeline that no visit used is forgotten: those of an older version, or of another model. */
const IDLE = 4;

/**
 * A pipeline as data; its bind groups are given by the entries of their layouts, or left to the shader.
 * @typedef {{ code: string, entryPoint: string, groups: "auto" | GPUBindGroupLayoutEntry[][] }} Recipe
 */

/** @type {WeakMap<object, string>} */
const codes = new WeakMap();
/** @type {WeakMap<object, GPUBindGroupLayoutEntry[]>} */
const entries = new WeakMap();
/** @type {WeakMap<object, GPUBindGroupLayoutEntry[][]>} */
const layouts = new WeakMap();
/** Those that are ready, of each device. @type {WeakMap<GPUDevice, Map<string, GPUComputePipeline>>} */
const ready = new WeakMap();
/** Those that this visit asked for. @type {Map<string, Recipe>} */
const used = new Map();
/** What earlier visits kept, with the writings since one used it. @type {Map<string, { recipe: Recipe, idle: number }>} */
let kept = new Map();
let preparing = Promise.resolve();

/** Settles, never fails, when all that can be prepared is. */
export const prepared = () => preparing;

/** Begins to compile for a device what earlier visits kept. @param {GPUDevice} device */
export function preparePipelines(device) {
  preparing = prepare(device).catch(() => undefined);
}

/** Begins to watch what the devices of this worker are asked for; they are not made yet. */
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
 * Keeps what this visit used for the next one, where it used something new.
 * @param {(code: string) => boolean} again whether a shader may be used again
 */
export async function keepPipelines(again) {
  for (const [key, { code }] of used) {
    if (!again(code)) {
      used.delete(key);
    }
  }
  if ([...used.keys()].every((key) => kept.has(key))) {
    return;
  }
  const idle = [...kept].filter(([key]) => !used.has(key)).map(([key, { recipe, idle }]) => [key, { recipe, idle: idle + 1 }]);
  const now = [...used].map(([key, recipe]) => [key, { recipe, idle: 0 }]);
  kept = new Map([...now, ...idle.filter(([, { idle }]) => idle < IDLE)]);
  try {
    await (await caches.open(CACHE)).put(KEY, new Response(JSON.stringify([...kept.values()])));
  } catch {
    // No storage, or a full one: the next visit compiles as it goes.
  }
}

/** Replaces a function by one that passes its result through `then`. */
function wrap(prototype, name, then) {
  const original = prototype[name];
  prototype[name] = function (...parameters) {
    return then(original.apply(this, parameters), ...parameters);
  };
}

/** @param {GPUComputePipelineDescriptor} descriptor @returns {Recipe} */
function describe({ compute, layout }) {
  const groups = layout === "auto" ? "auto" : layouts.get(layout);
  return { code: codes.get(compute.module), entryPoint: compute.entryPoint, groups };
}

async function prepare(device) {
  const found = await (await caches.open(CACHE)).match(KEY);
  const list = found ? await found.json() : [];
  kept = new Map(list.map((entry) => [JSON.stringify(entry.recipe), entry]));
  const pipelines = new Map();
  ready.set(device, pipelines);
  await Promise.allSettled([...kept].map(async ([key, { recipe }]) => {
    pipelines.set(key, await compile(device, recipe));
  }));
}

/** What this device refuses is nobody's error: the engine has not asked for it. */
async function compile(device, { code, entryPoint, groups }) {
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code });
  const bindGroupLayouts = groups === "auto" ? [] : groups.map((entries) => device.createBindGroupLayout({ entries }));
  const layout = groups === "auto" ? "auto" : device.createPipelineLayout({ bindGroupLayouts });
  const error = device.popErrorScope();
  const pipeline = await device.createComputePipelineAsync({ layout, compute: { module, entryPoint } });
  if (await error) {
    throw new Error("refused");
  }
  return pipeline;
}
