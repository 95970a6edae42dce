/**
 * Peak memory of a load. Loads a pack of many shards onto WebGPU and checks that neither wasm nor JavaScript ever holds
 * more than a few of them.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { DIST, launch } from "./browser.mjs";
import { deepen, readPack, reshard } from "./packs.mjs";
import { serve } from "./server.mjs";
import { watchHeap } from "./watch.mjs";

/** About 98 MB in total, 6 MB per shard. */
const LAYERS = 200;
const SHARDS = 16;

/** Maximum number of shards that a load holds at once: two in transfer, one being verified and uploaded. */
const HELD = 3;
/**
 * Additional bytes. In wasm: the device, the table of about 2,600 tensors, and gaps between shards of different sizes
 * (measured: 7 to 13 MB). In JavaScript: unread network data (measured: up to 8 MB).
 */
const ALLOWANCE = 24e6;

const files = new Map();
let server, browser, page, largest, total;

before(async () => {
  const pack = reshard(deepen(await readPack(join(DIST, "www/models/tabletop")), LAYERS), "transformer", SHARDS);
  for (const [path, bytes] of pack) {
    files.set(`/pack/${path}`, bytes);
  }
  const shards = [...pack].filter(([path]) => path.endsWith(".safetensors")).map(([, bytes]) => bytes.length);
  largest = Math.max(...shards);
  total = shards.reduce((sum, bytes) => sum + bytes);
  files.set("/blank.html", Buffer.from("<!doctype html><title>blank</title>"));
  server = await serve(DIST, 0, { files });
  browser = await launch();
  page = await browser.newPage();
  await page.goto(`${server.url}blank.html`);
});

after(async () => {
  await browser?.close();
  await server?.close();
});

test("a load holds a few shards in memory, independent of their number", { timeout: 240_000 }, async () => {
  await page.evaluate(async () => {
    const { UniReal } = await import("/www/unireal.js");
    window.UniReal = UniReal;
    await UniReal.check("/pack/");
  });
  const sample = await watchHeap(page, `${server.url}www/wasm/unireal.js`);
  const idle = await sample();

  let loading = true;
  const loaded = page.evaluate(async () => (await window.UniReal.load("/pack/", { device: "webgpu" })).info)
    .finally(() => (loading = false));
  const samples = [];
  while (loading) {
    samples.push(await sample());
    await pause(20);
  }
  const { device, bytes } = await loaded;
  assert.deepEqual({ device, bytes }, { device: "webgpu", bytes: total });
  samples.push(await sample());

  const most = (of) => Math.max(...samples.map(of));
  const grown = most(({ wasm, buffers }) => wasm + buffers) - idle.wasm - idle.buffers;
  const limit = HELD * largest + ALLOWANCE;
  const mb = (count) => `${(count / 1e6).toFixed(1)} MB`;
  console.log([
    `${mb(total)} in ${SHARDS} shards of at most ${mb(largest)}; ${samples.length} samples`,
    `wasm ${mb(idle.wasm)} idle, ${mb(most(({ wasm }) => wasm))} at most`,
    `ArrayBuffers ${mb(idle.buffers)} idle, ${mb(most(({ buffers }) => buffers))} at most`,
    `together grown by ${mb(grown)}, allowed ${mb(limit)}`,
  ].join("\n"));
  assert.ok(samples.length >= SHARDS / 2, `${samples.length} samples say too little`);
  assert.ok(total > 2 * limit, "a load that held the whole pack would pass");
  assert.ok(grown <= limit, `grown by ${mb(grown)}, allowed ${mb(limit)}`);
});
