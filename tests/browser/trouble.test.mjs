/** Failures of storage, memory, GPU results and timing. Each is reported or tolerated, and the next request works. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { LIMIT, generate, load, workshop } from "./module.mjs";
import { watchHeap } from "./watch.mjs";

const shop = workshop();
/** Returns the shards that were requested since `start`. */
const askedSince = (start) => shop.server.requests.slice(start).map(({ path }) => path).filter((path) => path.endsWith(".safetensors"));

/** Starts the worker of the next load and runs `act` in it. */
async function inWorker(page, folder, act) {
  await page.evaluate((url) => window.UniReal.check(url), `${folder}/`);
  const worker = page.workers().at(-1);
  await worker.evaluate(act);
  return worker;
}

test("with a full quota, the model loads and a note tells that it is not cached; with space again it is cached", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  const page = await shop.open();
  const session = await page.context().newCDPSession(page);
  const { origin } = new URL(shop.server.url);
  const quota = 600_000;
  await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: quota });
  const { ok, note, message } = await load(page, folder);
  assert.equal(ok, true, message);
  assert.match(note, /cannot store|storage is full/);
  assert.deepEqual(await generate(page), { ok: true });
  const stored = await page.evaluate((url) => window.UniReal.storedBytes(url), `${folder}/`);
  assert.ok(stored <= quota, `${stored} bytes are stored where ${quota} are allowed`);

  // The incomplete model in the cache does no harm.
  await session.send("Storage.overrideQuotaForOrigin", { origin });
  assert.deepEqual(await load(page, folder), { ok: true, note: null, device: "cpu" });
  const start = shop.server.requests.length;
  assert.deepEqual(await load(page, folder), { ok: true, note: null, device: "cpu" });
  assert.deepEqual(askedSince(start), []);
  assert.deepEqual(await generate(page), { ok: true });
  await page.context().close();
});

/** Limits the adapter to small buffers. Runs in the worker. */
function smallBuffers() {
  const limits = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, "limits").get;
  Object.defineProperty(GPUAdapter.prototype, "limits", {
    get() {
      return new Proxy(limits.call(this), {
        get: (all, name) => (name === "maxBufferSize" || name === "maxStorageBufferBindingSize" ? 4096 : all[name]),
      });
    },
  });
}

test("16-bit floats: used where the adapter has them, else refused by name", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  const page = await shop.open();
  const has = await page.evaluate(async () => (await navigator.gpu.requestAdapter()).features.has("shader-f16"));
  const { ok, code, message } = await load(page, folder, "webgpu-f16");
  assert.deepEqual([Boolean(ok), code], has ? [true, undefined] : [false, "unsupported"], message);
  has || assert.match(message, /shader-f16.*choose webgpu/);
  assert.deepEqual(await load(page, folder, "webgpu"), { ok: true, note: null, device: "webgpu" });
  await page.context().close();
});

test("subgroups: requested where the adapter has them", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  const page = await shop.open();
  const has = await page.evaluate(async () => (await navigator.gpu.requestAdapter()).features.has("subgroups"));
  assert.deepEqual(await load(page, folder, "webgpu"), { ok: true, note: null, device: "webgpu" });
  assert.equal(await page.workers().at(-1).evaluate(() => self.unirealSubgroups), has);
  // Without the engine, a descriptor or a list of features.
  const found = await page.workers().at(-1).evaluate(async () => {
    const request = async (descriptor) => (await (await navigator.gpu.requestAdapter()).requestDevice(descriptor)).features.has("subgroups");
    return [await request(), await request({ requiredFeatures: [] })];
  });
  assert.deepEqual(found, [has, has]);
  await page.context().close();
});

test("a GPU with too little memory for the model: a check refuses it, and auto uses the CPU", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  const page = await shop.open();
  const worker = await inWorker(page, folder, smallBuffers);
  const check = (device) => page.evaluate(([url, device]) => window.UniReal.check(url, { device }), [`${folder}/`, device]);
  const support = await check("webgpu");
  assert.deepEqual([support.ok, support.code, support.memory.limit], [false, "memory", 4096]);
  for (const device of ["auto", "cpu"]) {
    assert.equal((await check(device)).ok, true, device);
  }
  assert.equal(await check("abacus").catch(({ message }) => /auto, webgpu.*webgpu-f16 or cpu/.test(message)), true);
  // The worker that ran out of memory is terminated.
  const gone = new Promise((resolve) => worker.once("close", resolve));
  const refused = await load(page, folder, "webgpu");
  await gone;
  assert.equal(refused.code, "memory", refused.message);
  assert.match(refused.message, /in one piece/);

  await inWorker(page, folder, smallBuffers);
  const taken = await load(page, folder, "auto");
  assert.deepEqual([taken.ok, taken.device], [true, "cpu"], taken.message);
  assert.match(taken.note, /in one piece/);
  assert.deepEqual(await generate(page), { ok: true });
  await page.context().close();
});

test("a GPU that runs out of memory during a request", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  const page = await shop.open();
  const full = {
    // A real out-of-memory error would need to fill this machine's memory, so the test dispatches the browser's event.
    "no room": () => self.device.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error: new GPUOutOfMemoryError("no room") })),
    // A buffer that is larger than any device supports.
    "max buffer size": () => (self.size = 2 ** 46),
  };
  for (const [reason, act] of Object.entries(full)) {
    await inWorker(page, folder, () => {
      const { requestDevice } = GPUAdapter.prototype;
      GPUAdapter.prototype.requestDevice = async function (...given) {
        return (self.device = await requestDevice.apply(this, given));
      };
      const { createBuffer } = GPUDevice.prototype;
      GPUDevice.prototype.createBuffer = function (descriptor) {
        return createBuffer.call(this, { ...descriptor, size: self.size ?? descriptor.size });
      };
    });
    assert.deepEqual(await load(page, folder, "webgpu"), { ok: true, note: null, device: "webgpu" });
    const running = generate(page, { steps: 500, outputs: 2 });
    await pause(300);
    await page.workers().at(-1).evaluate(act);
    const { code, message } = await running;
    assert.equal(code, "memory", message);
    assert.match(message, new RegExp(reason));
    // A new worker loads the same model.
    assert.deepEqual(await generate(page), { ok: true });
    await page.evaluate(() => window.model.dispose());
  }
  await page.context().close();
});

test("a GPU with wrong results: auto uses the CPU, and a note tells why", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  const page = await shop.open();
  await inWorker(page, folder, () => {
    // Fakes a hardware GPU whose results are off by one.
    for (const holder of [GPUAdapter.prototype, GPUAdapterInfo.prototype]) {
      Object.defineProperty(holder, "isFallbackAdapter", { get: () => false });
    }
    const { getMappedRange } = GPUBuffer.prototype;
    GPUBuffer.prototype.getMappedRange = function (...given) {
      const range = getMappedRange.apply(this, given);
      if (this.usage & GPUBufferUsage.MAP_READ) {
        const values = new Float32Array(range);
        values.forEach((value, i) => (values[i] = value + 1));
      }
      return range;
    };
  });
  const { ok, device, note } = await load(page, folder, "auto");
  assert.deepEqual([ok, device], [true, "cpu"]);
  assert.match(note, /differs from the CPU/);
  assert.deepEqual(await generate(page), { ok: true });
  await page.context().close();
});

test("a tab in the background, and one that the browser freezes, finish their request", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  const page = await shop.open();
  assert.equal((await load(page, folder)).ok, true);
  const other = await page.context().newPage();
  const behind = generate(page, { steps: 20 });
  await other.bringToFront();
  assert.deepEqual(await behind, { ok: true });

  const session = await page.context().newCDPSession(page);
  const frozen = generate(page, { steps: 20 });
  await pause(200);
  await session.send("Page.setWebLifecycleState", { state: "frozen" });
  await pause(1500);
  await session.send("Page.setWebLifecycleState", { state: "active" });
  assert.deepEqual(await frozen, { ok: true });
  await page.bringToFront();
  assert.deepEqual(await generate(page), { ok: true });
  await page.context().close();
});

/** Sends a response in `pieces` parts, with a pause before each. */
async function drip(response, bytes, pieces, ms) {
  response.writeHead(200, { "Content-Type": "application/octet-stream", "Content-Length": bytes.length });
  const piece = Math.ceil(bytes.length / pieces);
  for (let at = 0; at < bytes.length; at += piece) {
    await pause(ms);
    response.write(bytes.subarray(at, at + piece));
  }
  response.end();
}

test("an abort at every stage of a load and of a request", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  // Progress is reported once per frame: a load within fewer frames would end before the later aborts.
  shop.intercept = ({ url, headers }, response) => {
    const bytes = url.endsWith(".safetensors") && !headers.range && shop.files.get(url);
    bytes && drip(response, bytes, 4, 20);
    return Boolean(bytes);
  };
  const page = await shop.open();
  const names = await page.evaluate(async (url) => {
    const names = [];
    const aborted = async (act) => {
      const end = new AbortController();
      names.push(await act(end).then(() => "done", window.code));
    };
    /** Aborts after `count` events. */
    const after = (count, end) => () => (count -= 1) < 0 && end.abort();
    const device = "cpu";
    await aborted((end) => (end.abort(), window.UniReal.load(url, { device, signal: end.signal })));
    await aborted((end) => (queueMicrotask(() => end.abort()), window.UniReal.load(url, { device, signal: end.signal })));
    for (const [count, cache] of [[0, "opfs"], [1, "opfs"], [3, "none"], [7, "none"]]) {
      await aborted((end) => window.UniReal.load(url, { device, cache, signal: end.signal, onProgress: after(count, end) }));
    }
    window.model = await window.UniReal.load(url, { device });
    const request = { prompt: "a red cube", steps: 8, previewEvery: 1 };
    await aborted((end) => (end.abort(), window.model.generate({ ...request, signal: end.signal })));
    await aborted((end) => (queueMicrotask(() => end.abort()), window.model.generate({ ...request, signal: end.signal })));
    for (const count of [0, 1, 5]) {
      await aborted((end) => window.model.generate({ ...request, signal: end.signal, onStep: after(count, end) }));
    }
    return names;
  }, `${folder}/`);
  assert.deepEqual(names, names.map(() => "AbortError"));
  assert.equal(names.length, 11);
  assert.deepEqual(await generate(page), { ok: true });
  const start = shop.server.requests.length;
  assert.deepEqual(await load(page, folder), { ok: true, note: null, device: "cpu" });
  assert.deepEqual(askedSince(start), [], "a model that was loaded after aborts is not whole in the cache");
  await page.context().close();
});

test("a slow response is awaited, a request without a response is repeated", { timeout: 2 * LIMIT }, async () => {
  const folder = shop.host();
  const [slow, silent] = [0, 3].map((i) => `${folder}/transformer/${shop.names[i]}`);
  let times = 0;
  shop.intercept = ({ url }, response) => {
    if (url === silent && (times += 1) === 1) {
      // Neither respond nor close the connection.
      return true;
    }
    if (url !== slow) {
      return false;
    }
    drip(response, shop.files.get(url), 20, 200);
    return true;
  };
  const page = await shop.open();
  const start = shop.server.requests.length;
  assert.deepEqual(await load(page, folder), { ok: true, note: null, device: "cpu" });
  const asked = askedSince(start);
  assert.deepEqual([slow, silent].map((path) => asked.filter((one) => one === path).length), [1, 2]);
  assert.deepEqual(await generate(page), { ok: true });
  await page.context().close();
});

test("a worker that ended silently: a cancelled request ends, and the next one has a new worker", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  const page = await shop.open();
  assert.equal((await load(page, folder)).ok, true);
  const running = page.evaluate(() => {
    window.end = new AbortController();
    return window.generate({ steps: 500, signal: window.end.signal });
  });
  await pause(300);
  await page.workers().at(-1).evaluate(() => self.close());
  await page.evaluate(() => window.end.abort());
  assert.equal((await running).code, "AbortError");
  assert.deepEqual(await generate(page), { ok: true });
  await page.context().close();
});

test("a hundred edits in a row take no more memory than the first ones", { timeout: 3 * LIMIT }, async (t) => {
  const folder = shop.host();
  const page = await shop.open();
  await page.evaluate((url) => window.UniReal.check(url), `${folder}/`);
  assert.equal((await load(page, folder)).ok, true);
  const sample = await watchHeap(page, `${shop.server.url}www/wasm/unireal.js`);
  const edits = (from, to) => page.evaluate(async ([from, to]) => {
    const canvas = new OffscreenCanvas(64, 64);
    const context = canvas.getContext("2d");
    for (let i = from; i < to; i += 1) {
      context.fillStyle = `hsl(${i * 37} 60% 50%)`;
      context.fillRect(i % 32, i % 24, 30, 30);
      const image = new ImageData(context.getImageData(0, 0, 64, 64).data, 64, 64);
      const result = await window.generate({ prompt: "remove the red cube", seed: i, images: [{ image, role: "canvas" }] });
      if (!result.ok) {
        throw new Error(`edit ${i}: ${result.code}: ${result.message}`);
      }
    }
  }, [from, to]);
  await edits(0, 10);
  const early = await sample();
  await edits(10, 100);
  const late = await sample();
  t.diagnostic(`after 10: ${JSON.stringify(early)}, after 100: ${JSON.stringify(late)}`);
  assert.ok(late.wasm - early.wasm < 2 ** 20 && late.buffers - early.buffers < 2 ** 20);
  await page.context().close();
});
