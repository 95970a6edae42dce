/** Valid and invalid requests on the demo page: each returns an image or an error, and the next one works. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { load, notice, reach, set } from "./browser.mjs";
import { pngSize, rgba, rotated, stripes } from "./images.mjs";
import { WORK, blue, choose, clear, download, generate, options, pixels, red, resultSize, site, stillWorks } from "./site.mjs";

const shared = site();

describe("with the model on the CPU", () => {
  let page;

  before(async () => {
    page = await shared.visit();
    await load(page, shared.address());
    await set(page, "steps", 1);
    await set(page, "seed", 5);
  });

  after(() => page?.context().close());

  test("the same request gives the same image; role, order, tag and seed change it", options, async () => {
    await clear(page);
    await choose(page, [red, blue], 2);
    const ask = async () => {
      const { state } = await generate(page, "put the thing of IMG2 into IMG1");
      assert.equal(state, "done", await notice(page, "error"));
      return pixels(page);
    };
    const results = [await ask()];
    assert.equal(await ask(), results[0]);
    await page.locator("#slots .role").nth(1).selectOption("control");
    results.push(await ask());
    await page.locator("#slots .earlier").nth(1).click();
    assert.equal(await page.locator("#slots .role").first().inputValue(), "control");
    results.push(await ask());
    await page.click("#context summary");
    await page.click('#tags [data-tag="realistic style"]');
    await page.click('#tags [data-tag="synthetic style"]');
    assert.equal(await page.textContent("#context-summary"), "synthetic style");
    results.push(await ask());
    await page.click('#tags [data-tag=""]');
    await page.click("#context summary");
    await set(page, "seed", 6);
    results.push(await ask());
    await set(page, "seed", 5);
    assert.equal(new Set(results).size, results.length);
  });

  test("an edit restores unchanged pixels exactly, unless composite is off", options, async () => {
    const part = await page.evaluate(async () => {
      const { model } = document.querySelector("unireal-editor");
      const example = await (await fetch("/www/examples/tabletop-9.png")).blob();
      const pixelsOf = (source) => {
        const context = new OffscreenCanvas(64, 64).getContext("2d");
        context.drawImage(source, 0, 0, 64, 64);
        return context.getImageData(0, 0, 64, 64).data;
      };
      // The input has the model's own size, so that nothing is resized.
      const before = pixelsOf(await createImageBitmap(example));
      const image = new ImageData(before, 64, 64);
      const same = async (options) => {
        const { images } = await model.generate({ prompt: "remove the cyan sphere", images: [{ image, role: "canvas" }], steps: 8, seed: 1, ...options });
        const after = pixelsOf(images[0]);
        return before.filter((value, i) => i % 4 < 3 && value === after[i]).length / (0.75 * before.length);
      };
      const warnings = [];
      const { warn } = console;
      console.warn = (text) => warnings.push(text);
      const part = { composite: await same({}), model: await same({ composite: false }), old: await same({ keep: false }), warnings };
      console.warn = warn;
      return part;
    });
    assert.ok(part.composite > 0.5 && part.composite < 0.999, `${part.composite} of the numbers are the canvas's`);
    assert.ok(part.model < 0.3, `${part.model} of the numbers are the canvas's, by chance`);
    assert.equal(part.old, part.model);
    assert.match(part.warnings.join(), /^unireal: "keep" is called "composite" now/);
  });

  test("several results of one request, each to be chosen and downloaded", options, async () => {
    await clear(page);
    await choose(page, red, 1);
    await set(page, "outputs", 2);
    await stillWorks(page);
    assert.equal(await page.locator("#result .choice").count(), 2);
    await page.locator("#result .choice").nth(1).click();
    await page.waitForSelector('#download[download$="-2.png"]');
    assert.deepEqual(pngSize((await download(page)).bytes), await resultSize(page));
    await set(page, "outputs", 1);
  });

  test("dropped and pasted images", options, async () => {
    await clear(page);
    await page.evaluate((bytes) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
      for (const type of ["dragenter", "dragover", "drop"]) {
        document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
      }
    }, [...red.buffer]);
    await page.waitForSelector('#slots[data-count="1"]', { state: "attached" });
    assert.equal(await page.isVisible("#drop-veil"), false);
    await page.evaluate((bytes) => {
      const clipboardData = new DataTransfer();
      clipboardData.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
      document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
      // A spreadsheet's clipboard holds a text and an image of it: a text field takes the text.
      clipboardData.setData("text/plain", "a red cube");
      const field = document.querySelector("unireal-editor").shadowRoot.getElementById("prompt");
      const paste = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true, composed: true });
      field.dispatchEvent(paste);
      if (paste.defaultPrevented) {
        throw new Error("the text beside an image is lost");
      }
    }, [...blue.buffer]);
    await page.waitForSelector('#slots[data-count="2"]', { state: "attached" });
    await stillWorks(page);
  });

  test("text to image", options, async () => {
    await clear(page);
    await stillWorks(page);
  });

  for (const [title, prompt, reason] of [
    ["IMG3 with one image", "put IMG3 beside IMG1", /IMG3.*IMG1/],
    ["an empty prompt", "   ", /empty/],
  ]) {
    test(`${title} is refused`, options, async () => {
      await clear(page);
      await choose(page, red, 1);
      const { state, code } = await generate(page, prompt);
      assert.deepEqual([state, code], ["error", "request"]);
      assert.match(await notice(page, "error"), reason);
      await stillWorks(page);
      assert.equal(await page.isVisible("#error"), false);
    });
  }

  test("a thousand words", options, async () => {
    await clear(page);
    await choose(page, red, 1);
    const { state, code } = await generate(page, "a very long story of a red cube ".repeat(125));
    assert.ok(state === "done" || (state === "error" && code === "request"), `${state} ${code}`);
    await stillWorks(page);
  });

  for (const [title, buffer, check] of [
    ["1 x 1", rgba(1, 1, () => [9, 200, 9, 255]), ({ width, height }) => width === height],
    ["8000 x 8000", stripes(8000, 8000), ({ width, height }) => width === height],
    ["100 x 1", rgba(100, 1, (x) => [x, x, x, 255]), ({ width, height }) => width > height],
    ["64 x 64 with alpha", rgba(64, 64, (x) => [255, 0, 0, 4 * x]), ({ width, height }) => width === height],
  ]) {
    test(`an image of ${title}`, options, async () => {
      await clear(page);
      await choose(page, { name: "odd.png", mimeType: "image/png", buffer }, 1);
      assert.equal(await page.getAttribute("#slots", "data-count"), "1", await notice(page, "image-note"));
      await stillWorks(page);
      const size = await resultSize(page);
      assert.ok(check(size), `${size.width} x ${size.height}`);
    });
  }

  test("an image with an EXIF rotation", options, async () => {
    const jpeg = await page.evaluate(async () => {
      const canvas = new OffscreenCanvas(96, 48);
      const context = canvas.getContext("2d");
      context.fillStyle = "#0a0";
      context.fillRect(0, 0, 96, 48);
      context.fillStyle = "#d00";
      context.fillRect(0, 0, 48, 48);
      return [...new Uint8Array(await (await canvas.convertToBlob({ type: "image/jpeg", quality: 1 })).arrayBuffer())];
    });
    const buffer = rotated(Buffer.from(jpeg), 6);
    const upright = await page.evaluate(async (bytes) => {
      const { decode } = await import("/www/images.js");
      const { width, height, data } = await decode(new Blob([new Uint8Array(bytes)]), "IMG1");
      const at = (x, y) => [...data.subarray(4 * (y * width + x), 4 * (y * width + x) + 3)];
      return { width, height, top: at(24, 10), bottom: at(24, 86) };
    }, [...buffer]);
    assert.deepEqual([upright.width, upright.height], [48, 96]);
    assert.ok(upright.top[0] > 150 && upright.top[1] < 60, `top ${upright.top}`);
    assert.ok(upright.bottom[0] < 60 && upright.bottom[1] > 120, `bottom ${upright.bottom}`);
    await clear(page);
    await choose(page, { name: "turned.jpg", mimeType: "image/jpeg", buffer }, 1);
    await stillWorks(page);
    const { width, height } = await resultSize(page);
    assert.ok(height > width, `${width} x ${height}`);
  });

  for (const [title, buffer] of [
    ["a file of zero bytes", Buffer.alloc(0)],
    ["a text", Buffer.from("this is no picture\n")],
    ["half of a PNG header", red.buffer.subarray(0, 20)],
  ]) {
    test(`${title} instead of an image`, options, async () => {
      await clear(page);
      await choose(page, { name: "wrong.png", mimeType: "image/png", buffer }, 1);
      assert.match(await notice(page, "image-note"), /wrong\.png is not a picture/);
      assert.equal(await page.getAttribute("#slots", "data-count"), "0");
      await choose(page, red, 1);
      assert.equal(await page.isVisible("#image-note"), false);
      await stillWorks(page);
    });
  }

  test("two calls at once: the second is refused as busy", options, async () => {
    const answers = await page.evaluate(async () => {
      const { model } = document.querySelector("unireal-editor");
      const first = model.generate({ prompt: "a red cube", steps: 2 });
      const second = await model.generate({ prompt: "a blue cube" }).catch(({ name, code }) => ({ name, code }));
      return { second, images: (await first).images.length };
    });
    assert.deepEqual(answers, { second: { name: "UniRealError", code: "busy" }, images: 1 });
  });

  test("numbers and names out of range are refused", options, async () => {
    const wrong = [
      { steps: 0 }, { steps: 1.5 }, { steps: 5000 }, { outputs: 0 }, { outputs: 11 }, { guidance: -1 }, { guidance: NaN },
      { imageGuidance: Infinity }, { seed: -1 }, { seed: 2 ** 60 }, { width: 64 }, { width: 7, height: 7 },
      { width: 1e9, height: 64 }, { context: ["sunny"] }, { context: ["static scenario", "dynamic scenario"] },
      { method: "guess" }, { composite: "yes" }, { previewEvery: -1 }, { prompt: 5 }, { images: "x" },
      { images: [{ image: new ArrayBuffer(4), role: "canvas" }] },
    ];
    const codes = await page.evaluate(async (requests) => {
      const { model } = document.querySelector("unireal-editor");
      const run = (request) => model.generate({ prompt: "a red cube", steps: 1, ...request }).then(() => "done", ({ code, message }) => code ?? message);
      const codes = [];
      for (const request of requests) {
        codes.push(await run(request));
      }
      const image = new ImageData(4, 4);
      codes.push(await run({ images: Array.from({ length: 11 }, () => ({ image, role: "asset" })) }));
      codes.push(await run({ images: [{ image, role: "mask" }] }));
      codes.push(await run({ images: [{ image }] }));
      codes.push(await run({ images: [image] }));
      codes.push(await run({ prompt: () => "a red cube" }));
      codes.push(await run({}));
      return codes;
    }, wrong);
    assert.deepEqual(codes, [...wrong.map(() => "request"), ...Array(5).fill("request"), "done"]);
  });

  test("cancel at any moment", options, async () => {
    const names = await page.evaluate(async () => {
      const { model } = document.querySelector("unireal-editor");
      const names = [];
      for (const after of [0, 1, 20, 60, 150, 400]) {
        const signal = AbortSignal.timeout(after);
        const request = { prompt: "a red cube", steps: 500, previewEvery: 1, signal };
        names.push(await model.generate(request).then(() => "done", ({ name }) => name));
      }
      return names;
    });
    assert.deepEqual(names, names.map(() => "TimeoutError"));
    await stillWorks(page);
  });

  test("a worker that breaks is replaced", { timeout: 180_000 }, async () => {
    await clear(page);
    await choose(page, red, 1);
    await set(page, "steps", 100);
    await page.click("#generate");
    await page.waitForSelector('#result[data-state="preview"]', { timeout: WORK });
    const worker = page.workers().at(-1);
    await worker.evaluate(() => void setTimeout(() => {
      throw new WebAssembly.RuntimeError("unreachable");
    }));
    const { code } = await reach(page, ["error"], 10_000);
    assert.equal(code, "internal");
    await set(page, "steps", 1);
    await stillWorks(page);
  });

});
