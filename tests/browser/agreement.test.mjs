/** Compares the image of one request and seed by the native command, by wasm on the CPU and by WebGPU in the browser. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DIST, launch } from "./browser.mjs";
import { BLANK, MAX_DIFFERENCE, byCommand, byModule, difference, pixels } from "./request.mjs";
import { serve } from "./server.mjs";

let folder, server, browser;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "unireal-"));
  server = await serve(DIST, 0, { files: new Map([["/blank.html", BLANK]]) });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
  await rm(folder, { recursive: true, force: true });
});

test("native, wasm on the CPU and WebGPU generate the same image", { timeout: 400_000 }, async () => {
  const request = await byCommand(folder);
  const page = await browser.newPage();
  await page.goto(`${server.url}blank.html`);
  const images = {
    native: await pixels(page, request.output),
    "wasm CPU": await byModule(page, "cpu", request),
    WebGPU: await byModule(page, "webgpu", request),
  };
  for (const [one, other] of [["native", "wasm CPU"], ["native", "WebGPU"], ["wasm CPU", "WebGPU"]]) {
    const found = difference(images[one], images[other]);
    console.log(`${one} and ${other}: mean absolute difference ${found.toFixed(4)} of 255`);
    assert.ok(found <= MAX_DIFFERENCE, `${one} and ${other} differ by ${found} of 255`);
  }
  // Rules out that all three merely return the input.
  assert.ok(difference(images.native, await pixels(page, request.input)) > MAX_DIFFERENCE, "the image is the input");
  await page.close();
});
