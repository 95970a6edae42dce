/** The pipeline cache: a second visit compiles its pipelines ahead of use, and a corrupted cache does no harm. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DIST, launch } from "./browser.mjs";
import { serve } from "./server.mjs";

/**
 * Counts the pipelines that the browser compiles at their first use, below the worker's wrapper, and delays prepared ones
 * by longer than a load takes: nothing may need a pipeline before they are awaited.
 */
const COUNT = `
self.compiled = 0;
const { createComputePipeline, createComputePipelineAsync } = GPUDevice.prototype;
GPUDevice.prototype.createComputePipelineAsync = async function (descriptor) {
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  return createComputePipelineAsync.call(this, descriptor);
};
GPUDevice.prototype.createComputePipeline = function (descriptor) {
  self.compiled += 1;
  return createComputePipeline.call(this, descriptor);
};
watchPipelines();`;

let server, browser, context;

before(async () => {
  const device = await readFile(join(DIST, "www/device.js"), "utf8");
  assert.equal(device.split("\n  watchPipelines();").length, 2);
  const files = new Map([
    ["/www/device.js", Buffer.from(device.replace("\n  watchPipelines();", COUNT))],
    ["/blank.html", Buffer.from("<!doctype html><title>blank</title>")],
  ]);
  server = await serve(DIST, 0, { files });
  browser = await launch();
  context = await browser.newContext();
});

after(async () => {
  await browser?.close();
  await server?.close();
});

/** Generates an image in a new tab. Returns its pixels and the number of pipelines that were compiled at their first use. */
async function visit() {
  const page = await context.newPage();
  await page.goto(`${server.url}blank.html`);
  const pixels = await page.evaluate(async () => {
    const { UniReal } = await import("/www/unireal.js");
    const model = await UniReal.load("/www/models/tabletop/", { device: "webgpu" });
    const canvas = new OffscreenCanvas(64, 64);
    canvas.getContext("2d").fillRect(8, 8, 32, 32);
    const { images: [image] } = await model.generate({
      prompt: "remove the black cube", images: [{ image: canvas, role: "canvas" }], steps: 2, seed: 3,
    });
    const out = new OffscreenCanvas(image.width, image.height).getContext("2d");
    out.drawImage(image, 0, 0);
    return [...out.getImageData(0, 0, image.width, image.height).data];
  });
  const compiled = await page.workers()[0].evaluate(() => self.compiled);
  await page.close();
  return { pixels, compiled };
}

/** Replaces the cache's content by the result of `change`. */
async function change(change) {
  const page = await context.newPage();
  await page.goto(`${server.url}blank.html`);
  await page.evaluate(async (source) => {
    const cache = await caches.open("unireal-pipelines");
    const key = "/unireal-pipelines.json";
    const stored = await (await cache.match(key)).json();
    await cache.put(key, new Response(new Function("stored", `return (${source})(stored)`)(stored)));
  }, change.toString());
  await page.close();
}

test("a second visit finds its pipelines compiled, and generates the same image", { timeout: 300_000 }, async () => {
  const first = await visit();
  assert.ok(first.compiled > 20, `the first visit compiled ${first.compiled}`);
  const second = await visit();
  assert.equal(second.compiled, 0);
  assert.deepEqual(second.pixels, first.pixels);

  // An invalid shader, one that the engine never uses, and an entry of another format.
  await change((stored) => JSON.stringify([
    { recipe: { code: "no shader", entryPoint: "main", groups: "auto" }, idle: 0 },
    { recipe: { code: "@compute @workgroup_size(1) fn main() {}", entryPoint: "main", groups: "auto" }, idle: 0 },
    { recipe: { code: 7, groups: [[{ binding: -1 }]] }, idle: "never" },
    ...stored.slice(1),
  ]));
  const third = await visit();
  assert.equal(third.compiled, 1, "only the one that was taken out");
  assert.deepEqual(third.pixels, first.pixels);

  await change(() => "{ not JSON");
  const fourth = await visit();
  assert.ok(fourth.compiled > 20);
  assert.deepEqual(fourth.pixels, first.pixels);
});
