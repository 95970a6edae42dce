/**
 * One request, one seed, one picture: by the native command, in the browser on the CPU and in the browser on WebGPU. The
 * scene is one that no training run has seen.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { DIST, NATIVE, launch } from "./browser.mjs";
import { serve } from "./server.mjs";

/** Seeds from here on are held out. */
const SCENE = 2 ** 40 + 8;
const REQUEST = { steps: 4, guidance: 2, seed: 11 };
/** The largest mean difference of a channel, of 255. */
const MOST = 1;

let folder, server, browser;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "unireal-"));
  server = await serve(DIST, 0, { files: new Map([["/blank.html", Buffer.from("<!doctype html><title>blank</title>")]]) });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
  await rm(folder, { recursive: true, force: true });
});

const native = (...args) => promisify(execFile)(NATIVE, args.map(String));

/** The PNG that the module makes, and how long its stages took. No previews: each would be one more decoding. */
async function byModule(page, device, image, prompt) {
  const { png, info, timings } = await page.evaluate(async ({ device, picture, request }) => {
    const { UniReal } = await import("/www/unireal.js");
    const model = await UniReal.load("/www/models/tabletop/", { device });
    const images = [{ image: new Blob([new Uint8Array(picture)]), role: "canvas" }];
    const { images: [made], timings } = await model.generate({ ...request, images });
    const canvas = new OffscreenCanvas(made.width, made.height);
    canvas.getContext("2d").drawImage(made, 0, 0);
    const png = await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer();
    await model.dispose();
    return { png: [...new Uint8Array(png)], info: model.info, timings };
  }, { device, picture: [...image], request: { ...REQUEST, prompt } });
  assert.equal(info.device, device);
  console.log(`${device} (${info.adapter}): ${Object.entries(timings).map(([name, time]) => `${name} ${Math.round(time)}`).join(", ")} ms`);
  return Buffer.from(png);
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
  await native("world", "--out", folder, "--seed", SCENE, "--count", 1, "--size", 64, "--frames", 1);
  const clip = join(folder, String(SCENE));
  const { edits } = JSON.parse(await readFile(join(clip, "truth.json"), "utf8"));
  const { instruction: prompt } = edits.find(({ instruction }) => instruction);
  const image = join(clip, "edit-before.png");
  const out = join(folder, "native.png");
  const { steps, guidance, seed } = REQUEST;
  await native("generate", "--pack", join(DIST, "www/models/tabletop"), "--image", `canvas=${image}`, "--prompt", prompt,
    "--steps", steps, "--guidance", guidance, "--seed", seed, "--device", "cpu", "--out", out);
  const page = await browser.newPage();
  await page.goto(`${server.url}blank.html`);
  const input = await readFile(image);
  const files = {
    native: await readFile(out),
    "wasm CPU": await byModule(page, "cpu", input, prompt),
    WebGPU: await byModule(page, "webgpu", input, prompt),
    input,
  };
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
