/** Actions on results: compare, copy, save, undo and redo, choose a variation, share the request. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { load, notice, reach, set } from "./browser.mjs";
import { pngSize } from "./images.mjs";
import { WORK, blue, choose, clear, generate, options, pixels, red, resultSize, site } from "./site.mjs";

const shared = site();
describe("with a model on the CPU", () => {
  let page;

  before(async () => {
    page = await shared.visit({ permissions: ["clipboard-read", "clipboard-write"] });
    await load(page, shared.address());
    await set(page, "steps", 1);
  });

  after(() => page?.context().close());

  async function make(prompt) {
    const { state } = await generate(page, prompt);
    assert.equal(state, "done", await notice(page, "error"));
  }

  const roles = () => page.$$eval("#slots .role", (all) => all.map(({ value }) => value));
  const focused = () => page.evaluate(() => document.querySelector("unireal-editor").shadowRoot.activeElement?.id);

  test("comparison of before and after with a slider", options, async () => {
    await choose(page, blue, 1);
    await make("make it green");
    await page.click("#compare-toggle");
    await page.waitForSelector("#compare");
    assert.equal(await page.isVisible("#result"), false);
    const sizes = await page.$$eval("#compare canvas", (all) => all.map(({ width, height }) => [width, height]));
    assert.deepEqual(sizes[0], sizes[1]);
    const cut = () => page.$eval("#compare-after", (canvas) => getComputedStyle(canvas).clipPath);
    assert.match(await cut(), /50%\)$/);
    await page.focus("#compare-range");
    await page.keyboard.press("End");
    assert.match(await cut(), /^inset\(0(px)? 0(px)? 0(px)? 0(%|px)\)$|^inset\(0px\)$/);
    assert.equal(await page.getAttribute("#compare-range", "aria-valuetext"), "100% after, 0% before");
    await page.keyboard.press("Home");
    assert.match(await cut(), /100%\)$/);
    // The comparison stays on for the next result, and is hidden while that is generated.
    await make("make it red");
    assert.equal(await page.isVisible("#compare"), true);
    await page.click("#compare-toggle");
    assert.equal(await page.isVisible("#result"), true);

    await clear(page);
    await make("a red cube");
    assert.deepEqual([await page.isVisible("#compare-toggle"), await page.isVisible("#save-both")], [false, false]);
  });

  test("copying a result, and saving it beside the input", options, async () => {
    await clear(page);
    await choose(page, blue, 1);
    await make("make it green");
    await page.click("#copy");
    await page.waitForSelector('#status:text("copied")');
    const size = await resultSize(page);
    const copied = await page.evaluate(async () => {
      const [item] = await navigator.clipboard.read();
      const { width, height } = await createImageBitmap(await item.getType("image/png"));
      return { width, height };
    });
    assert.deepEqual(copied, size);
    const [file] = await Promise.all([page.waitForEvent("download"), page.click("#save-both")]);
    assert.match(file.suggestedFilename(), /^unireal-\d+-before-after\.png$/);
    const both = pngSize(await readFile(await file.path()));
    assert.equal(both.height, Math.max(64, size.height));
    assert.ok(both.width > both.height * (48 / 64 + size.width / size.height) && both.width < 2.5 * both.height, JSON.stringify(both));
  });

  test("a browser that refuses to copy: a message suggests the download", options, async () => {
    await page.evaluate(() => {
      window.clipboard = { write: navigator.clipboard.write, writeText: navigator.clipboard.writeText };
      navigator.clipboard.write = navigator.clipboard.writeText = () => Promise.reject(new DOMException("no", "NotAllowedError"));
    });
    await page.click("#copy");
    await page.waitForSelector('#status:text("use Download")');
    await page.click("#share");
    await page.waitForSelector("#link");
    assert.match(await page.inputValue("#link"), /#unireal=1&/);
    await page.evaluate(() => Object.assign(navigator.clipboard, window.clipboard));
  });

  test("undo and redo restore images, prompt, settings and results", { timeout: 180_000 }, async () => {
    await clear(page);
    await choose(page, red, 1);
    await set(page, "seed", 3);
    await make("make it blue");
    const first = await pixels(page);
    await page.click("#use-as-input");
    await page.waitForSelector('#status:text("now the picture to edit")');
    await choose(page, blue, 2);
    await page.locator("#slots .role").nth(1).selectOption("control");
    await set(page, "seed", 4);
    await set(page, "steps", 2);
    await make("follow IMG2");
    const second = await pixels(page);
    await page.fill("#prompt", "words that were not used yet");

    await page.focus("#generate");
    await page.keyboard.press("Control+z");
    await page.waitForFunction(() => document.querySelector("unireal-editor").prompt === "follow IMG2");
    await page.keyboard.press("Control+z");
    await page.waitForSelector('#slots[data-count="1"]', { state: "attached" });
    assert.deepEqual([await page.inputValue("#prompt"), await page.inputValue("#steps"), await page.inputValue("#seed")], ["make it blue", "1", "3"]);
    await page.keyboard.press("Control+z");
    await page.waitForFunction((size) => document.querySelector("unireal-editor").images[0].image.size === size, red.buffer.length);
    assert.equal(await pixels(page), first);

    for (const prompt of ["make it blue", "follow IMG2", "words that were not used yet"]) {
      await page.keyboard.press("Control+Shift+Z");
      await page.waitForFunction((wanted) => document.querySelector("unireal-editor").prompt === wanted, prompt);
    }
    assert.deepEqual([await roles(), await page.inputValue("#steps"), await page.inputValue("#seed")], [["canvas", "control"], "2", "4"]);
    assert.equal(await pixels(page), second);

    // In a text field, the undo key belongs to the field.
    await page.focus("#prompt");
    await page.keyboard.type("x");
    await page.keyboard.press("Control+z");
    assert.equal(await page.inputValue("#prompt"), "words that were not used yet");
    assert.deepEqual(await roles(), ["canvas", "control"]);

    assert.ok((await page.locator("#history-list button").count()) >= 2);
    await page.locator('#history-list button[aria-label$="make it blue"]').click();
    await page.waitForFunction(() => document.querySelector("unireal-editor").prompt === "make it blue");
    assert.equal(await pixels(page), first);
    assert.equal(await page.getAttribute('#history-list button[aria-label$="make it blue"]', "aria-current"), "true");
    await set(page, "steps", 1);
  });

  test("four variations: a grid to choose from, each with its seed", { timeout: 180_000 }, async () => {
    await clear(page);
    await choose(page, red, 1);
    await page.fill("#prompt", "make it yellow");
    await page.click("#variations");
    await reach(page, ["done"], WORK);
    const choices = page.locator("#result .choice");
    assert.equal(await choices.count(), 4);
    const all = await page.$$eval("#result canvas", (canvases) => canvases.map((canvas) =>
      canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.join()));
    assert.equal(new Set(all).size, 4);
    await choices.nth(2).click();
    assert.deepEqual(await choices.evaluateAll((buttons) => buttons.map((one) => one.getAttribute("aria-pressed"))), ["false", "false", "true", "false"]);
    // The field shows the chosen variation's seed; with that seed fixed, the request returns the same image.
    const seed = await page.inputValue("#seed");
    assert.equal(await page.getAttribute("#download", "download"), `unireal-${seed}.png`);
    await set(page, "seed", seed);
    await make("make it yellow");
    assert.equal(await pixels(page), all[2]);
  });

  test("cancelled variations: the complete images stay", { timeout: 180_000 }, async () => {
    await set(page, "steps", 12);
    await page.click("#variations");
    await page.waitForSelector('#step-text:text("Picture 3 of 4")', { timeout: WORK });
    await page.click("#cancel");
    await reach(page, ["cancelled"], 2000);
    await page.waitForSelector("#result-actions");
    assert.match(await page.textContent("#status"), /2 of 4 pictures/);
    assert.equal(await page.locator("#result .choice").count(), 2);
    assert.ok(["generate", "variations"].includes(await focused()), await focused());
    await set(page, "steps", 1);
  });

  test("a link contains the request but no image", { timeout: 180_000 }, async () => {
    await clear(page);
    await choose(page, [red, blue], 2);
    await page.locator("#slots .role").nth(1).selectOption("control");
    await page.click("#context summary");
    await page.click('#tags [data-tag="synthetic style"]');
    await page.fill("#prompt", "make it like IMG2 & “so” on #1 + 100%");
    await set(page, "guidance", 3.5);
    await page.$eval("#composite", (box) => box.click());
    await set(page, "seed", 77);
    await page.click("#share");
    await page.waitForSelector('#status:text("link is copied")');
    const link = await page.evaluate(() => navigator.clipboard.readText());
    assert.ok(link.length < 500 && !/blob|data:/.test(link), link);

    const other = await page.context().newPage();
    await other.goto(link);
    await reach(other, ["ready"], WORK);
    assert.equal(await other.inputValue("#prompt"), "make it like IMG2 & “so” on #1 + 100%");
    assert.deepEqual(await other.evaluate(() => document.querySelector("unireal-editor").request), {
      prompt: "make it like IMG2 & “so” on #1 + 100%", context: ["synthetic style"], outputs: 1, steps: 1, guidance: 3.5, imageGuidance: 1, composite: false, seed: 77,
    });
    assert.match(await other.textContent("#needs"), /a picture to edit, then a picture whose shape to follow/);
    await choose(other, [red, blue], 2);
    assert.deepEqual(await other.$$eval("#slots .role", (all) => all.map(({ value }) => value)), ["canvas", "control"]);
    assert.equal(await other.textContent("#needs"), "");

    // A link may hold any values; the editor clamps them to its limits.
    await other.goto(`${shared.address()}#unireal=1&prompt=%3Cimg%20src%3Dx%3E&steps=1e9&outputs=99&seed=-4&guidance=NaN&tag=sunny&tag=static+scenario&tag=dynamic+scenario&role=canvas&role=mask`);
    await other.reload();
    await reach(other, ["ready"], WORK);
    assert.deepEqual(await other.evaluate(() => {
      const { prompt, steps, outputs, guidance, context } = document.querySelector("unireal-editor").request;
      return { prompt, steps, outputs, guidance, context };
    }), { prompt: "<img src=x>", steps: 8, outputs: 4, guidance: 2, context: ["dynamic scenario"] });
    await other.close();
  });
});
