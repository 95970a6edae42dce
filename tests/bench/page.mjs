/**
 * What a page costs, in headless Chromium against a local server, each thing beside what it is compared with:
 *
 *   node page.mjs > lines-of-json
 *
 * Loads of a pack of about half a gigabyte, the shipped one made wider and deeper, in turns with a plain `fetch` of the same
 * bytes and with each thing that a load does to them besides, alone; what the shipped one holds on the device; its first picture
 * after a warm load; the download's size.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { brotliCompressSync, constants } from "node:zlib";
import { DIST, launch, launchProfile } from "../browser/browser.mjs";
import { readPack, reshard, widen } from "../browser/packs.mjs";
import { serve } from "../browser/server.mjs";
import { watchDevice, watchHeap } from "../browser/watch.mjs";

/** How many times as wide as the shipped transformer the large one is, its blocks of about 12 MB, and its shards of less than 32 MiB. */
const TIMES = 5;
const LAYERS = 42;
const SHARDS = 18;
const ROUNDS = 3;
const MIB = 2 ** 20;

const report = (line) => console.log(JSON.stringify(line));
const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];

const shipped = await readPack(join(DIST, "www/models/tabletop"));
const large = reshard(widen(shipped, TIMES, LAYERS), "transformer", SHARDS);
const files = new Map([...large].map(([path, bytes]) => [`/large/${path}`, bytes]));
files.set("/blank.html", Buffer.from("<!doctype html><title>blank</title>"));
const shards = [...large.keys()].filter((path) => path.endsWith(".safetensors"));
const server = await serve(DIST, 0, { files });

/** A private page with the module and its engine started. */
const open = async (browser) => start(await browser.newContext());

async function start(context) {
  const page = await context.newPage();
  await page.goto(`${server.url}blank.html`);
  await page.evaluate(async () => {
    const { UniReal } = await import("/www/unireal.js");
    window.UniReal = UniReal;
    await UniReal.check("/large/");
  });
  return { page, context };
}

/** Milliseconds of a load until it is ready, and of reading the same bytes by a plain fetch, as many at once as we read. */
const load = (page, url, cache) => page.evaluate(async ({ url, cache }) => {
  const start = performance.now();
  window.model = await window.UniReal.load(url, { device: "webgpu", cache });
  return performance.now() - start;
}, { url, cache });

const plain = (page) => page.evaluate(async (paths) => {
  const start = performance.now();
  const waiting = [...paths];
  const reader = async () => {
    for (let path = waiting.shift(); path; path = waiting.shift()) {
      await (await fetch(`/large/${path}`, { cache: "no-store" })).arrayBuffer();
    }
  };
  await Promise.all([reader(), reader()]);
  return performance.now() - start;
}, shards);

/**
 * What a load does to the bytes besides fetching them, each alone and by the browser's own functions: milliseconds of their SHA-256, of
 * writing them to the browser's file system, and of bringing them to the device.
 */
const parts = (page, lengths) => page.evaluate(async (lengths) => {
  const measure = async (lengths) => {
    const timed = async (each) => {
      const start = performance.now();
      for (const [place, length] of lengths.entries()) {
        await each(new Uint8Array(length).fill(place), place);
      }
      return performance.now() - start;
    };
    const nothing = await timed(async () => undefined);
    const sha256 = await timed((bytes) => crypto.subtle.digest("SHA-256", bytes));
    const folder = await navigator.storage.getDirectory();
    const write = await timed(async (bytes, place) => {
      const file = await folder.getFileHandle(`part-${place}`, { create: true });
      const access = await file.createSyncAccessHandle();
      access.write(bytes, { at: 0 });
      access.close();
    });
    for (const place of lengths.keys()) {
      await folder.removeEntry(`part-${place}`);
    }
    const device = await (await navigator.gpu.requestAdapter()).requestDevice();
    const upload = await timed(async (bytes) => {
      const buffer = device.createBuffer({ size: bytes.length, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST });
      device.queue.writeBuffer(buffer, 0, bytes);
      await device.queue.onSubmittedWorkDone();
    });
    device.destroy();
    return { sha256: sha256 - nothing, write: write - nothing, upload: upload - nothing };
  };
  const worker = new Worker(URL.createObjectURL(new Blob([`onmessage = async ({ data }) => postMessage(await (${measure})(data))`])));
  const found = await new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage(lengths);
  });
  worker.terminate();
  return found;
}, lengths);

async function loads() {
  const times = { plain: [], none: [], opfs: [], again: [], sha256: [], write: [], upload: [] };
  for (let round = 0; round < ROUNDS; round += 1) {
    // A profile as people have one: what private pages keep lies in memory, behind another process.
    const folder = await mkdtemp(join(tmpdir(), "unireal-bench-"));
    const { page, context } = await start(await launchProfile(folder, { webgpu: true }));
    times.plain.push(await plain(page));
    // What goes to a device comes in words.
    const lengths = shards.map((path) => Math.ceil(large.get(path).length / 4) * 4);
    Object.entries(await parts(page, lengths)).forEach(([name, ms]) => times[name].push(ms));
    times.none.push(await load(page, "/large/", "none"));
    await page.evaluate(() => window.model.dispose());
    times.opfs.push(await load(page, "/large/", "opfs"));
    await page.evaluate(() => window.model.dispose());
    // From here on there is no network for the pack, and no request for it may be made.
    const before = server.requests.length;
    await page.route("**/large/**", (route) => route.abort());
    times.again.push(await load(page, "/large/", "opfs"));
    const asked = server.requests.slice(before).filter(({ path }) => path.startsWith("/large/"));
    if (asked.length > 0) {
      throw new Error(`the second load asked for ${asked.map(({ path }) => path).join(", ")}`);
    }
    await context.close();
    await rm(folder, { recursive: true });
  }
  const bytes = shards.reduce((sum, path) => sum + large.get(path).length, 0);
  const of = ([name, list]) => [name, Math.round(median(list))];
  const ratios = (a, b) => median(a.map((ms, round) => ms / b[round]));
  const found = Object.fromEntries(Object.entries(times).map(of));
  report({ page: "load, nothing kept, over a plain fetch", value: ratios(times.none, times.plain), unit: "x", most: 1.3, bytes, ms: found });
  report({ page: "load, kept in OPFS, over a plain fetch", value: ratios(times.opfs, times.plain), unit: "x" });
  const alone = (names) => times.plain.map((ms, round) => names.reduce((sum, name) => sum + times[name][round], ms));
  const floors = { "nothing kept": [times.none, ["sha256", "upload"]], "kept": [times.opfs, ["sha256", "upload", "write"]] };
  for (const [name, [ours, names]] of Object.entries(floors)) {
    report({ page: `load, ${name}, over fetch, ${names.join(", ")}, each alone and added`, value: ratios(ours, alone(names)), unit: "x" });
  }
  report({ page: "second load, without a network, over the first", value: ratios(times.again, times.opfs), unit: "x", most: 0.7 });
}

async function heap(browser) {
  const { page, context } = await open(browser);
  const sample = await watchHeap(page, `${server.url}www/wasm/unireal.js`);
  const sum = ({ wasm, buffers }) => wasm + buffers;
  const idle = sum(await sample());
  let loading = true;
  const done = load(page, "/large/", "opfs").finally(() => (loading = false));
  let most = { wasm: 0, buffers: 0 };
  while (loading) {
    const now = await sample();
    most = sum(now) > sum(most) ? now : most;
    await pause(20);
  }
  await done;
  report({
    page: "wasm and ArrayBuffers above the idle page during a load", value: (sum(most) - idle) / MIB, unit: "MiB", most: 128,
    MiB: { idle: idle / MIB, wasm: most.wasm / MIB, buffers: most.buffers / MIB },
  });
  await context.close();
}

/** One picture of the shipped model; milliseconds. */
const picture = (page, steps) => page.evaluate(async (steps) => {
  const canvas = new OffscreenCanvas(64, 64);
  const paint = canvas.getContext("2d");
  paint.fillStyle = "teal";
  paint.fillRect(0, 0, 64, 64);
  const start = performance.now();
  const { images } = await window.model.generate({
    prompt: "remove the red cube", images: [{ image: canvas, role: "canvas" }], steps, seed: 1,
  });
  images.forEach((image) => image.close());
  return performance.now() - start;
}, steps);

async function shippedPack(browser) {
  const { page, context } = await open(browser);
  const url = "/www/models/tabletop/";
  await load(page, url, "opfs");
  await picture(page, 1);
  await page.evaluate(() => window.model.dispose());

  // A new tab of the same profile: weights and the adapter's tiles are kept, no shader is compiled.
  const tab = await context.newPage();
  await tab.goto(`${server.url}blank.html`);
  await tab.evaluate(async (url) => {
    window.longest = 0;
    new PerformanceObserver((list) => list.getEntries().forEach(({ duration }) => {
      window.longest = Math.max(window.longest, duration);
    })).observe({ type: "longtask" });
    window.started = performance.now();
    const { UniReal } = await import("/www/unireal.js");
    window.UniReal = UniReal;
    await UniReal.check(url);
    window.checked = performance.now() - window.started;
  }, url);
  const held = await watchDevice(tab);
  const sample = await watchHeap(tab, `${server.url}www/wasm/unireal.js`);
  const ready = await load(tab, url, "opfs");
  const first = await picture(tab, 4);
  const second = median([await picture(tab, 4), await picture(tab, 4), await picture(tab, 4)]);
  const { checked, longest } = await tab.evaluate(() => ({ checked: window.checked, longest: window.longest }));
  report({
    page: "first picture after a warm load: start, load, compiling and probes", value: (checked + ready + first - second) / 1e3, unit: "s", most: 3,
    ms: { start: Math.round(checked), load: Math.round(ready), first: Math.round(first), later: Math.round(second) },
  });
  report({ page: "longest task of the page meanwhile", value: longest, unit: "ms", most: 50 });

  // 200 steps in 20 pictures: what is held after two is held after all.
  const state = async () => ({ ...(await sample()), device: (await held()).now });
  await picture(tab, 10);
  await picture(tab, 10);
  const early = await state();
  for (let i = 2; i < 20; i += 1) {
    await picture(tab, 10);
  }
  const late = await state();
  for (const [key, name] of [["wasm", "wasm's memory"], ["buffers", "ArrayBuffers"], ["device", "device buffers"]]) {
    report({ page: `growth of ${name} from picture 2 to 20`, value: (late[key] - early[key]) / MIB, unit: "MiB", most: 1 });
  }
  const packed = [...shipped].filter(([path]) => path.endsWith(".safetensors")).reduce((sum, [, bytes]) => sum + bytes.length, 0);
  report({ page: "device buffers in steady state over the packed bytes", value: late.device / packed, unit: "x", bytes: late.device, packed });
  await context.close();
}

async function largeOnDevice(browser) {
  const { page, context } = await open(browser);
  const held = await watchDevice(page);
  const sample = await watchHeap(page, `${server.url}www/wasm/unireal.js`);
  await load(page, "/large/", "none");
  await picture(page, 1);
  await picture(page, 1);
  await sample();
  const { now } = await held();
  const packed = shards.reduce((sum, path) => sum + large.get(path).length, 0);
  // The activations of 168 tokens, some MB, are below a hundredth of the weights here.
  report({ page: "device buffers over the packed bytes of a large pack, a step done", value: now / packed, unit: "x", most: 1.3, bytes: now, packed });
  await context.close();
}

async function size() {
  const wasm = await readFile(join(DIST, "www/wasm/unireal_bg.wasm"));
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: wasm.length };
  const bytes = brotliCompressSync(wasm, { params }).length;
  report({ page: "wasm, brotli", value: bytes / 1e6, unit: "MB", most: 2, bytes: wasm.length });
}

const rows = { loads, heap, largeOnDevice, shippedPack, size };
const browser = await launch();
try {
  for (const name of process.argv.length > 2 ? process.argv.slice(2) : Object.keys(rows)) {
    await rows[name](browser);
  }
} finally {
  await browser.close();
  await server.close();
}
