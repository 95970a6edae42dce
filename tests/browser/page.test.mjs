/** The demo page from the first visit to the downloaded image, in a browser with the real model. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { launch, load, notice, reach, set } from "./browser.mjs";
import { pngSize } from "./images.mjs";
import { WORK, choose, download, generate, options, red, resultSize, site, stillWorks } from "./site.mjs";

const shared = site();

/** Records the progress that the page shows as `window.seen`. Runs in the page. */
function recordProgress() {
  window.seen = { bytes: [], bar: [], results: [], steps: [] };
  addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
    const of = (id) => document.querySelector("unireal-editor").shadowRoot.getElementById(id);
    const add = (list, value) => value && list.at(-1) !== value && list.push(value);
    add(window.seen.bytes, of("download-bytes").textContent);
    add(window.seen.bar, of("download-bar").value);
    add(window.seen.results, of("result").dataset.state);
    add(window.seen.steps, of("step-text").textContent);
  }).observe(document.querySelector("unireal-editor").shadowRoot, { subtree: true, childList: true, attributes: true, characterData: true }));
}

/** Reloads the page without the model's server, and runs a request from the cache. */
async function visitWithoutServer(page) {
  shared.offline = true;
  try {
    const from = shared.requests.length;
    await page.reload();
    await reach(page, ["ready"], WORK);
    assert.deepEqual(shared.requests.slice(from).filter(({ path }) => path.includes("/models/")), []);
    await choose(page, red, 1);
    await stillWorks(page);
  } finally {
    shared.offline = false;
  }
}

test("the first visit: download, example, preview, cancel, result, download, use as input, second visit", { timeout: 240_000 }, async () => {
  const page = await shared.visit();
  await page.addInitScript(recordProgress);
  await page.goto(shared.address());
  await reach(page, ["waiting"]);
  assert.match(await page.textContent("#load"), /Download the model\s*[\d.]+ [kMG]B/);
  assert.ok(!shared.requests.some(({ path }) => path.endsWith(".safetensors")), "weights came before anybody asked");
  await page.click("#load");
  await reach(page, ["ready"], WORK);
  const loading = await page.evaluate(() => window.seen);
  assert.match(loading.bytes.at(-1), /^([\d.]+ [kMG]B) of \1$/);
  assert.ok(loading.bar.includes(1), `the bar stood at ${loading.bar}`);
  assert.match(await page.textContent("#model-text"), /^Running on the CPU\. Model: /);
  const pack = await page.evaluate(async () => (await import("/www/unireal.js")).UniReal.check("/www/models/tabletop/"));
  assert.equal(await page.inputValue("#steps"), String(pack.steps), "the model's own number of steps");

  await page.click("#examples .thumb");
  await page.waitForSelector('#slots[data-count="1"]', { state: "attached" });
  assert.notEqual(await page.inputValue("#prompt"), "");
  await set(page, "seed", 7);

  await set(page, "steps", 100);
  await page.click("#generate");
  await page.waitForSelector('#result[data-state="preview"]', { timeout: WORK });
  await page.click("#cancel");
  await reach(page, ["cancelled"], 2000);
  assert.equal(await page.isEnabled("#generate"), true);

  await set(page, "steps", 4);
  const { state } = await generate(page, await page.inputValue("#prompt"));
  assert.equal(state, "done", await notice(page, "error"));
  const { results, steps } = await page.evaluate(() => window.seen);
  assert.ok(results.lastIndexOf("preview") < results.lastIndexOf("done"), String(results));
  for (const step of ["Step 1 of 4", "Step 2 of 4", "Step 3 of 4"]) {
    assert.ok(steps.includes(step), `${step} is not among ${steps}`);
  }
  const size = await resultSize(page);
  assert.deepEqual(size, { width: pack.sampleSize, height: pack.sampleSize });
  const first = await download(page);
  assert.equal(first.name, "unireal-7.png");
  assert.deepEqual(pngSize(first.bytes), size);
  assert.match(await page.textContent("#timings"), /seed.7$/);

  await page.click("#use-as-input");
  await page.waitForSelector('#status:text("The result is now")');
  assert.equal(await page.getAttribute("#slots", "data-count"), "1");
  assert.deepEqual(await page.$eval("#slots img", ({ naturalWidth: width, naturalHeight: height }) => ({ width, height })), size);
  await stillWorks(page);

  await visitWithoutServer(page);
  await page.click("#settings summary");
  await page.click("#delete-model");
  await reach(page, ["waiting"], WORK);
  await page.context().close();
});

test("without WebGPU: auto takes the CPU, webgpu is unsupported", { timeout: 180_000 }, async () => {
  const plain = await launch({ webgpu: false });
  try {
    const page = await shared.visit({}, plain);
    await load(page, shared.address("device=auto"), WORK);
    assert.equal(await page.getAttribute("#model", "data-device"), "cpu");
    await set(page, "steps", 1);
    await stillWorks(page);
    await page.goto(shared.address("device=webgpu"));
    const { code } = await reach(page, ["error"], WORK);
    assert.equal(code, "unsupported");
    await page.click("#settings summary");
    // A cached model needs no download, so selecting the device loads it.
    await page.selectOption("#device", "cpu");
    await reach(page, ["ready"], WORK);
    await set(page, "steps", 1);
    await stillWorks(page);
  } finally {
    await plain.close();
  }
});

test("a server that does not respond: an error is shown, and a second try works", options, async () => {
  const page = await shared.visit();
  shared.offline = true;
  try {
    await page.goto(shared.address());
    assert.equal((await reach(page, ["error"], WORK)).code, "network");
    assert.match(await notice(page, "load-error"), /could not be downloaded/);
  } finally {
    shared.offline = false;
  }
  await page.click("#load");
  await reach(page, ["waiting"], WORK);
  await page.click("#load");
  await reach(page, ["ready"], WORK);
  await page.context().close();
});
