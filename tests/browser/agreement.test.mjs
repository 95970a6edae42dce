/**
 * One request, one seed, one picture: by the native command, by the page on the CPU and by the page on WebGPU. The scene is
 * one that no training run has seen.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { DIST, NATIVE, launch, load, notice, reach, set } from "./browser.mjs";
import { serve } from "./server.mjs";

/** Seeds from here on are held out. */
const SCENE = 2 ** 40 + 8;
const REQUEST = { steps: 4, guidance: 2, seed: 11 };
/** The largest mean difference of a channel, of 255. */
const MOST = 1;

let folder, server, browser;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "unireal-"));
  server = await serve(DIST);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
  await rm(folder, { recursive: true, force: true });
});

const native = (...args) => promisify(execFile)(NATIVE, args.map(String));

/** The picture that the page makes, as it is downloaded. */
async function byPage(device, image, prompt) {
  const page = await browser.newPage({ acceptDownloads: true });
  try {
    await load(page, `${server.url}?device=${device}`, 120_000);
    assert.equal(await page.getAttribute("#model", "data-device"), device);
    await page.setInputFiles("#file", image);
    await page.waitForSelector('#slots[data-count="1"]', { state: "attached" });
    for (const [name, value] of Object.entries(REQUEST)) {
      await set(page, name, value);
    }
    await page.fill("#prompt", prompt);
    await page.click("#generate");
    const { state } = await reach(page, ["done", "error"], 240_000);
    assert.equal(state, "done", await notice(page, "error"));
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
    return await readFile(await download.path());
  } finally {
    await page.close();
  }
}

/** The stored values of a PNG. */
async function pixels(page, png) {
  const { width, height, data } = await page.evaluate(async (bytes) => {
    const { decode } = await import("/www/pictures.js");
    const { width, height, data } = await decode(new Blob([new Uint8Array(bytes)]), "the picture");
    return { width, height, data: [...data] };
  }, [...png]);
  return { width, height, data };
}

test("native, wasm on the CPU and WebGPU make the same picture", { timeout: 400_000 }, async () => {
  await native("world", "--out", folder, "--kind", "remove", "--seed", SCENE, "--count", 1, "--size", 64);
  const [{ before: file, prompt }] = (await readFile(join(folder, "samples.jsonl"), "utf8")).trim().split("\n").map(JSON.parse);
  const image = join(folder, file);
  const out = join(folder, "native.png");
  const { steps, guidance, seed } = REQUEST;
  await native("generate", "--pack", join(DIST, "www/models/tiny"), "--image", `canvas=${image}`, "--prompt", prompt,
    "--steps", steps, "--guidance", guidance, "--seed", seed, "--device", "cpu", "--out", out);
  const files = {
    native: await readFile(out),
    "wasm CPU": await byPage("cpu", image, prompt),
    WebGPU: await byPage("webgpu", image, prompt),
    input: await readFile(image),
  };
  const page = await browser.newPage();
  await page.goto(server.url);
  const pictures = {};
  for (const [name, png] of Object.entries(files)) {
    pictures[name] = await pixels(page, png);
  }
  await page.close();
  const difference = (one, other) => {
    const [a, b] = [pictures[one], pictures[other]];
    assert.deepEqual([a.width, a.height], [b.width, b.height], `${one} and ${other}`);
    const sum = a.data.reduce((sum, value, i) => sum + (i % 4 < 3 ? Math.abs(value - b.data[i]) : 0), 0);
    return sum / (3 * a.width * a.height);
  };
  for (const [one, other] of [["native", "wasm CPU"], ["native", "WebGPU"], ["wasm CPU", "WebGPU"]]) {
    const found = difference(one, other);
    console.log(`${one} and ${other}: mean absolute difference ${found.toFixed(4)} of 255`);
    assert.ok(found <= MOST, `${one} and ${other} differ by ${found} of 255`);
  }
  // Three times the untouched input would agree too.
  assert.ok(difference("native", "input") > MOST, "the picture is the input");
});
