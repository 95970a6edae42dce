/** New scenes: the page renders them like the native command, and shows the ground truth beside the model's result. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { NATIVE, load, notice, set } from "./browser.mjs";
import { WORK, generate, options, site } from "./site.mjs";

/** The first held-out seed (crates/tabletop/src/edit_case.rs); a scene's number is its offset from it. */
const HELD_OUT = 2 ** 40;
/**
 * Maximum mean absolute difference per channel, of 255. The physics is bit-identical on all machines, but sine and
 * power depend on the platform, and a difference in their last digit sometimes changes a path: 2 of 105 images
 * differed, by 0.0005.
 */
const MAX_DIFFERENCE = 0.05;

const shared = site();
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "unireal-"));
});

after(() => rm(folder, { recursive: true, force: true }));

/** Renders the scene with the native command. Returns its folder and the instructions with their numbers. */
async function native(number, side) {
  await promisify(execFile)(NATIVE, ["world", "--out", folder, "--seed", HELD_OUT + number, "--count", 1, "--size", side, "--frames", 1].map(String));
  const clip = join(folder, String(HELD_OUT + number));
  const { edits } = JSON.parse(await readFile(join(clip, "truth.json"), "utf8"));
  return { clip, instructions: edits.flatMap(({ instruction }, index) => (instruction ? [{ instruction, index }] : [])) };
}

/** Returns the mean absolute difference per channel between an image element and a file, of 255. */
async function difference(page, selector, path) {
  const bytes = [...(await readFile(path))];
  return page.locator(selector).evaluate(async (image, bytes) => {
    const pixels = (source, { width, height }) => {
      const context = new OffscreenCanvas(width, height).getContext("2d");
      context.drawImage(source, 0, 0);
      return context.getImageData(0, 0, width, height).data;
    };
    const file = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
    if (image.naturalWidth !== file.width || image.naturalHeight !== file.height) {
      throw new Error(`${image.naturalWidth}x${image.naturalHeight} is shown, ${file.width}x${file.height} is right`);
    }
    const [one, other] = [pixels(image, file), pixels(file, file)];
    // Three of four channels: alpha is 255 in both.
    return one.reduce((sum, value, i) => sum + Math.abs(value - other[i]), 0) / ((3 * one.length) / 4);
  }, bytes);
}

const ideas = (page) => page.$$eval("#ideas .chip", (all) => all.map(({ textContent }) => textContent));
const groundTruths = (page) => page.$$eval(".ground-truth img", (all) => all.map(({ alt }) => alt));
/** Waits until `count` ground truths are shown, because showing and removing them is asynchronous. */
const waitForGroundTruths = (page, count) => page.waitForFunction((n) => document.querySelectorAll(".ground-truth img").length === n, count, { timeout: WORK });

/** Presses the button and waits for the scene. @returns its number */
async function newScene(page) {
  const number = await page.getAttribute("#scene", "data-number");
  await page.click("#scene");
  await page.waitForSelector(`#scene[data-number]:not([disabled])${number ? `:not([data-number="${number}"])` : ""}`, { timeout: WORK });
  await page.waitForSelector('#slots[data-count="1"]', { state: "attached" });
  return Number(await page.getAttribute("#scene", "data-number"));
}

test("a new scene, its instructions and its ground truths equal the native command's", { timeout: 4 * WORK }, async (t) => {
  // Blocks the service worker, which would fetch the renderer in advance.
  const page = await shared.visit({ serviceWorkers: "block" });
  await page.addInitScript(() => {
    window.long = [];
    new PerformanceObserver((list) => window.long.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
  });
  const isRequested = () => shared.requests.some(({ path }) => path.includes("/wasm/tabletop"));
  await load(page, shared.address(), WORK);
  assert.equal(isRequested(), false, "the renderer was loaded before a scene was requested");
  await page.evaluate(() => (window.long = []));
  const number = await newScene(page);
  assert.equal(isRequested(), true);
  const blocked = Math.max(0, ...(await page.evaluate(() => window.long)));
  assert.ok(blocked < 200, `the page stood still for ${blocked} ms`);

  const side = await page.evaluate(() => document.querySelector("unireal-editor").sampleSize);
  const expected = await native(number, side);
  assert.deepEqual(await ideas(page), expected.instructions.map(({ instruction }) => instruction));
  assert.equal(await page.inputValue("#prompt"), expected.instructions[0].instruction);
  const scene = await difference(page, "#slots img", join(expected.clip, "edit-before.png"));
  assert.deepEqual(await groundTruths(page), []);

  await set(page, "steps", 1);
  const differences = [];
  for (const { instruction, index } of expected.instructions) {
    const { state } = await generate(page, instruction);
    assert.equal(state, "done", await notice(page, "error"));
    await waitForGroundTruths(page, 1);
    assert.deepEqual(await groundTruths(page), [`The correct result of: ${instruction}`]);
    differences.push(await difference(page, ".ground-truth img", join(expected.clip, `edit-${index}-after.png`)));
  }
  t.diagnostic(`scene ${number}: ${scene.toFixed(4)} of 255 from the native image; ground truths ${differences.map((one) => one.toFixed(4)).join(", ")}`);
  assert.ok(scene <= MAX_DIFFERENCE && differences.every((one) => one <= MAX_DIFFERENCE), `scene ${number}: ${scene}, ${differences}`);
  // The ground truth differs from the scene.
  assert.ok((await difference(page, ".ground-truth img", join(expected.clip, "edit-before.png"))) > 0);
  await page.context().close();
});

test("the ground truth is shown beside its own result only", { timeout: 4 * WORK }, async () => {
  const page = await shared.visit();
  await load(page, shared.address(), WORK);
  await newScene(page);
  await set(page, "steps", 1);
  const prompt = await page.inputValue("#prompt");
  assert.equal((await generate(page, prompt)).state, "done");
  await waitForGroundTruths(page, 1);
  const [left, right] = await page.evaluate(() => {
    const result = document.querySelector("unireal-editor").shadowRoot.querySelector("#result canvas");
    return [result, document.querySelector(".ground-truth img")].map((one) => one.getBoundingClientRect().toJSON());
  });
  assert.ok(left.right <= right.left && Math.abs(left.top - right.top) < 2 && Math.abs(left.width - right.width) < 2,
    `not side by side: ${JSON.stringify([left, right])}`);

  // The ground truth of any other prompt is unknown.
  assert.equal((await generate(page, `${prompt} twice`)).state, "done");
  await waitForGroundTruths(page, 0);
  await page.locator("#history-list .thumb").first().click();
  await waitForGroundTruths(page, 1);
  assert.deepEqual(await groundTruths(page), [`The correct result of: ${prompt}`]);

  // A new scene does not remove the shown result, and undo restores the scene before.
  const before = await page.inputValue("#prompt");
  await newScene(page);
  assert.notEqual(await page.inputValue("#prompt"), before);
  await page.click("#undo");
  await page.waitForFunction((text) => document.querySelector("unireal-editor").prompt === text, before);
  await page.context().close();
});

test("a renderer that does not load: a message tells it, and the next click works", options, async () => {
  const page = await shared.visit({ serviceWorkers: "block" });
  await page.goto(shared.address());
  await page.route("**/wasm/tabletop_bg.wasm*", (route) => route.abort());
  await page.click("#scene");
  await page.waitForSelector('#scene-status:text("could not be rendered")');
  assert.equal(await page.isEnabled("#scene"), true);
  await page.unroute("**/wasm/tabletop_bg.wasm*");
  await newScene(page);
  assert.match(await page.textContent("#scene-status"), /^Here is your scene/);
  // The model is not loaded yet, but the scene is the input already.
  assert.notEqual(await page.inputValue("#prompt"), "");
  await page.waitForFunction(() => document.querySelector("unireal-editor").images.length === 1);
  await page.context().close();
});
