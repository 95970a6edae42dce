/** The CPU path in Firefox: the page's flow, and agreement with the images of the native command and Chromium. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DIST } from "./browser.mjs";
import { launchFirefox, missing } from "./firefox.mjs";
import { BLANK, MAX_DIFFERENCE, byCommand, byModule, difference, pixels } from "./request.mjs";
import { serve } from "./server.mjs";

const options = { timeout: 600_000 };

let folder, server, page;

before(async () => {
  assert.equal(missing(), null);
  folder = await mkdtemp(join(tmpdir(), "unireal-"));
  server = await serve(DIST, 0, { files: new Map([["/blank.html", BLANK]]) });
  page = await launchFirefox();
  console.log(`Firefox ${page.version}`);
});

after(async () => {
  await page?.close();
  await server?.close();
  if (folder) {
    await rm(folder, { recursive: true, force: true });
  }
});

test("Firefox: download, new scene, edit, and a second visit from the cache", options, async () => {
  const state = () => page.evaluate(() => {
    const { dataset, textContent } = document.querySelector("unireal-editor").shadowRoot.getElementById("status");
    return `${dataset.state} ${dataset.code ?? ""}: ${textContent}`;
  });
  const reach = (name) => page.until((name) => {
    const { state } = document.querySelector("unireal-editor").shadowRoot.getElementById("status").dataset;
    return [name, "error"].includes(state) && state;
  }, name).then(async (found) => assert.equal(found, name, await state()));

  // The profile is new, so nothing is cached yet.
  await page.goto(`${server.url}?device=auto`);
  await reach("waiting");
  await page.click(() => document.querySelector("unireal-editor").shadowRoot.getElementById("load"));
  await reach("ready");
  assert.equal(await page.evaluate(() => document.querySelector("unireal-editor").model.info.device), "cpu");
  await page.click(() => document.getElementById("scene"));
  await page.until(() => document.querySelector("unireal-editor").images.length === 1 && document.querySelector("unireal-editor").prompt);
  await page.evaluate(() => (document.querySelector("unireal-editor").request = { steps: 4, seed: 7 }));
  await page.click(() => document.querySelector("unireal-editor").shadowRoot.getElementById("generate"));
  await reach("done");
  await page.until(() => document.querySelector(".ground-truth img")?.naturalWidth > 0);
  const size = await page.evaluate(() => {
    const { width, height } = document.querySelector("unireal-editor").shadowRoot.querySelector("#result canvas");
    return [width, height, document.querySelector("unireal-editor").sampleSize];
  });
  assert.deepEqual(size, [size[2], size[2], size[2]]);

  const from = server.requests.length;
  await page.goto(`${server.url}?device=cpu`);
  await reach("ready");
  assert.deepEqual(server.requests.slice(from).filter(({ path }) => path.includes("/models/")), []);
});

test("Firefox generates the native command's image", options, async () => {
  const request = await byCommand(folder);
  await page.goto(`${server.url}blank.html`);
  const [output, native, input] = [await byModule(page, "cpu", request), await pixels(page, request.output), await pixels(page, request.input)];
  const found = difference(output, native);
  console.log(`native and Firefox: mean absolute difference ${found.toFixed(4)} of 255`);
  assert.ok(found <= MAX_DIFFERENCE, `they differ by ${found} of 255`);
  assert.ok(difference(native, input) > MAX_DIFFERENCE, "the image is the input");
});
