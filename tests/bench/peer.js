/**
 * What the bench measures against: onnxruntime-web, from the server that `scripts/bench` starts, and the adapter's own rate.
 */

const HOST = "http://127.0.0.1:8571/";
const RUNTIMES = { webgpu: "ort.webgpu.bundle.min.mjs", wasm: "ort.wasm.bundle.min.mjs" };

export async function bytes(path) {
  const response = await fetch(HOST + path);
  if (!response.ok) {
    throw new Error(`${path}: ${response.status}`);
  }
  return new Uint8Array(await response.arrayBuffer());
}

/**
 * A session of onnxruntime-web and its inputs.
 * @param {string} provider webgpu or wasm
 * @param {string} path of the ONNX file
 * @param {Record<string, { shape: number[], values: Float32Array }>} inputs
 */
export async function open(provider, path, inputs) {
  const runtime = await import(`${HOST}peer/${RUNTIMES[provider]}`);
  runtime.env.wasm.wasmPaths = `${HOST}peer/`;
  runtime.env.wasm.numThreads = 1;
  runtime.env.logLevel = "error";
  const session = await runtime.InferenceSession.create(await bytes(path), { executionProviders: [provider], graphOptimizationLevel: "all" });
  const feeds = {};
  for (const name of session.inputNames) {
    feeds[name] = new runtime.Tensor("float32", inputs[name].values, inputs[name].shape);
  }
  return { session, feeds };
}

/** The velocity, once it can be read. */
export async function run({ session, feeds }) {
  const { velocity } = await session.run(feeds);
  return velocity.data;
}

export async function close({ session }) {
  await session.release();
}

/**
 * Multiply-adds in registers and nothing else: what the adapter could do at most, with the number of chains that suits it best.
 * @returns {Promise<number>} GFLOP/s
 */
export async function peak() {
  const rates = [];
  for (const accumulators of [8, 16, 32, 64]) {
    rates.push(await rate(accumulators));
  }
  return Math.max(...rates);
}

async function rate(accumulators) {
  const [threads, groups, turns] = [64, 256, 2048];
  const each = (line) => Array.from({ length: accumulators }, (_, i) => line(i)).join("\n");
  const code = `
    @group(0) @binding(0) var<storage, read_write> out: array<f32>;
    @compute @workgroup_size(${threads})
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
      let m = 0.999 + 1e-9 * f32(id.x);
      let c = 1e-3;
      ${each((i) => `var a${i} = f32(id.x + ${i}u);`)}
      for (var t = 0u; t < ${turns}u; t++) {
        ${each((i) => `a${i} = fma(a${i}, m, c);`)}
      }
      out[id.x] = ${Array.from({ length: accumulators }, (_, i) => `a${i}`).join(" + ")};
    }`;
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter.requestDevice();
  const pipeline = await device.createComputePipelineAsync({
    layout: "auto", compute: { module: device.createShaderModule({ code }), entryPoint: "main" },
  });
  const buffer = device.createBuffer({ size: 4 * threads * groups, usage: GPUBufferUsage.STORAGE });
  const bindings = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer } }] });
  const times = [];
  for (let round = 0; round < 6; round++) {
    const start = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindings);
    pass.dispatchWorkgroups(groups);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    times.push(performance.now() - start);
  }
  device.destroy();
  const best = Math.min(...times.slice(1));
  return (2 * accumulators * threads * groups * turns) / best / 1e6;
}
