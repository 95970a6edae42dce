/** The demo page's whole flow, from the first visit to the downloaded picture, in a real browser with the real model. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { DIST, launch, load, notice, reach, set } from "./browser.mjs";
import { pngSize, rgba, rotated, stripes } from "./pictures.mjs";
import { serve } from "./server.mjs";

/** Milliseconds for a request of a few steps on a slow machine, and for a test. */
const WORK = 60_000;
const options = { timeout: 120_000 };

const red = { name: "red.png", mimeType: "image/png", buffer: rgba(64, 64, (x, y) => [200, x, y, 255]) };
const blue = { name: "blue.png", mimeType: "image/png", buffer: rgba(48, 64, (x, y) => [x, y, 200, 255]) };

/** While true, the host of the model does not answer. */
let offline = false;
let server, browser;
const problems = [];

before(async () => {
  server = await serve(DIST, 0, {
    intercept: ({ url }, response) => offline && url.includes("/models/") && (response.destroy(), true),
  });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
});

/** A page in a browser that has never been here. */
async function visit(contextOptions = {}, from = browser) {
  const context = await from.newContext({ acceptDownloads: true, ...contextOptions });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (error) => problems.push(error.message));
  return page;
}

const address = (query = "device=cpu") => `${server.url}?${query}`;

/** Chooses pictures by the file dialog and waits until they are there, or until the page says why not. */
async function choose(page, given, count) {
  await page.setInputFiles("#file", given);
  await page.waitForSelector(`#slots[data-count="${count}"], #picture-note:not([hidden])`, { state: "attached" });
}

async function clear(page) {
  while (await page.locator("#slots .remove").count()) {
    await page.locator("#slots .remove").first().click();
  }
}

/** Presses Generate and waits for how it ends. */
async function generate(page, prompt) {
  await page.fill("#prompt", prompt);
  await page.$eval("#status", ({ dataset }) => (dataset.state = "asked"));
  await page.click("#generate");
  return reach(page, ["done", "error", "cancelled"], WORK);
}

/** The first result's pixels as text, to be compared. */
const pixels = (page) => page.$eval("#result canvas", (canvas) =>
  canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.join());

const resultSize = (page) => page.$eval("#result canvas", ({ width, height }) => ({ width, height }));

async function download(page) {
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  return { name: file.suggestedFilename(), bytes: await readFile(await file.path()) };
}

/** A request that works, to show that the page does. */
async function stillWorks(page) {
  const { state } = await generate(page, "remove the red cube");
  assert.equal(state, "done", await notice(page, "error"));
}

test("the first visit: download, example, preview, cancel, result, download, use as input, second visit", { timeout: 240_000 }, async () => {
  const page = await visit();
  await page.addInitScript(() => {
    window.seen = { bytes: [], bar: [], results: [], steps: [] };
    addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
      const of = (id) => document.getElementById(id);
      const add = (list, value) => value && list.at(-1) !== value && list.push(value);
      add(window.seen.bytes, of("download-bytes").textContent);
      add(window.seen.bar, of("download-bar").value);
      add(window.seen.results, of("result").dataset.state);
      add(window.seen.steps, of("step-text").textContent);
    }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true }));
  });
  await page.goto(address());
  await reach(page, ["waiting"]);
  assert.match(await page.textContent("#load"), /Download the model\s*[\d.]+ [kMG]B/);
  assert.ok(!server.requests.some(({ path }) => path.endsWith(".safetensors")), "weights came before anybody asked");
  await page.click("#load");
  await reach(page, ["ready"], WORK);
  const loading = await page.evaluate(() => window.seen);
  assert.match(loading.bytes.at(-1), /^([\d.]+ [kMG]B) of \1$/);
  assert.ok(loading.bar.includes(1), `the bar stood at ${loading.bar}`);
  assert.match(await page.textContent("#model-text"), /runs on the CPU/);

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
  const sample = await page.evaluate(async () => (await (await import("/www/unireal.js")).UniReal.check("/www/models/tiny/")).sampleSize);
  assert.deepEqual(size, { width: sample, height: sample });
  const first = await download(page);
  assert.equal(first.name, "unireal-7.png");
  assert.deepEqual(pngSize(first.bytes), size);
  assert.match(await page.textContent("#timings"), /seed.7$/);

  await page.click("#use-as-input");
  await page.waitForFunction(() => document.getElementById("status").textContent.startsWith("The result is now"));
  assert.equal(await page.getAttribute("#slots", "data-count"), "1");
  assert.deepEqual(await page.$eval("#slots img", ({ naturalWidth: width, naturalHeight: height }) => ({ width, height })), size);
  await stillWorks(page);

  offline = true;
  try {
    const from = server.requests.length;
    await page.reload();
    await reach(page, ["ready"], WORK);
    assert.deepEqual(server.requests.slice(from).filter(({ path }) => path.includes("/models/")), []);
    await choose(page, red, 1);
    await stillWorks(page);
  } finally {
    offline = false;
  }

  await page.click("#settings summary");
  await page.click("#forget");
  await reach(page, ["waiting"], WORK);
  await page.context().close();
});

describe("with the model on the CPU", () => {
  let page;

  before(async () => {
    page = await visit();
    await load(page, address());
    await set(page, "steps", 1);
    await set(page, "seed", 5);
  });

  after(() => page?.context().close());

  test("the same request gives the same picture; role, order, tag and seed change it", options, async () => {
    await clear(page);
    await choose(page, [red, blue], 2);
    const ask = async () => {
      const { state } = await generate(page, "put the thing of IMG2 into IMG1");
      assert.equal(state, "done", await notice(page, "error"));
      return pixels(page);
    };
    const pictures = [await ask()];
    assert.equal(await ask(), pictures[0]);
    await page.locator("#slots .role").nth(1).selectOption("control");
    pictures.push(await ask());
    await page.locator("#slots .earlier").nth(1).click();
    assert.equal(await page.locator("#slots .role").first().inputValue(), "control");
    pictures.push(await ask());
    await page.click("#context summary");
    await page.click('#tags [data-tag="realistic style"]');
    await page.click('#tags [data-tag="synthetic style"]');
    assert.equal(await page.textContent("#context-summary"), "synthetic style");
    pictures.push(await ask());
    await page.click('#tags [data-tag=""]');
    await page.click("#context summary");
    await set(page, "seed", 6);
    pictures.push(await ask());
    await set(page, "seed", 5);
    assert.equal(new Set(pictures).size, pictures.length);
  });

  test("several results from one pass, each to be chosen and downloaded", options, async () => {
    await clear(page);
    await choose(page, red, 1);
    await set(page, "outputs", 2);
    await stillWorks(page);
    assert.equal(await page.locator("#result .choice").count(), 2);
    await page.locator("#result .choice").nth(1).click();
    await page.waitForFunction(() => document.getElementById("download").download.endsWith("-2.png"));
    assert.deepEqual(pngSize((await download(page)).bytes), await resultSize(page));
    await set(page, "outputs", 1);
  });

  test("pictures that are dropped and pasted", options, async () => {
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
    }, [...blue.buffer]);
    await page.waitForSelector('#slots[data-count="2"]', { state: "attached" });
    await stillWorks(page);
  });

  test("no picture: the words alone make one", options, async () => {
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
    test(`a picture of ${title}`, options, async () => {
      await clear(page);
      await choose(page, { name: "odd.png", mimeType: "image/png", buffer }, 1);
      assert.equal(await page.getAttribute("#slots", "data-count"), "1", await notice(page, "picture-note"));
      await stillWorks(page);
      const size = await resultSize(page);
      assert.ok(check(size), `${size.width} x ${size.height}`);
    });
  }

  test("a picture that its EXIF turns", options, async () => {
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
      const { decode } = await import("/www/pictures.js");
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
    ["half a picture's head", red.buffer.subarray(0, 20)],
  ]) {
    test(`${title} in place of a picture`, options, async () => {
      await clear(page);
      await choose(page, { name: "wrong.png", mimeType: "image/png", buffer }, 1);
      assert.match(await notice(page, "picture-note"), /wrong\.png is not a picture/);
      assert.equal(await page.getAttribute("#slots", "data-count"), "0");
      await choose(page, red, 1);
      assert.equal(await page.isVisible("#picture-note"), false);
      await stillWorks(page);
    });
  }

  test("two calls at once: the second is told that the model is busy", options, async () => {
    const answers = await page.evaluate(async () => {
      const model = (await import("/www/demo/model.js")).loaded();
      const first = model.generate({ prompt: "a red cube", steps: 2 });
      const second = await model.generate({ prompt: "a blue cube" }).catch(({ name, code }) => ({ name, code }));
      return { second, pictures: (await first).images.length };
    });
    assert.deepEqual(answers, { second: { name: "UniRealError", code: "busy" }, pictures: 1 });
  });

  test("numbers and names out of range are refused", options, async () => {
    const wrong = [
      { steps: 0 }, { steps: 1.5 }, { steps: 5000 }, { outputs: 0 }, { outputs: 11 }, { guidance: -1 }, { guidance: NaN },
      { imageGuidance: Infinity }, { seed: -1 }, { seed: 2 ** 60 }, { width: 64 }, { width: 7, height: 7 },
      { width: 1e9, height: 64 }, { context: ["sunny"] }, { context: ["static scenario", "dynamic scenario"] },
      { method: "guess" }, { previewEvery: -1 }, { prompt: 5 }, { images: "x" }, { images: [{ image: "x" }] },
      { images: [{ image: new ArrayBuffer(4), role: "canvas" }] },
    ];
    const codes = await page.evaluate(async (requests) => {
      const model = (await import("/www/demo/model.js")).loaded();
      const run = (request) => model.generate({ prompt: "a red cube", steps: 1, ...request }).then(() => "done", ({ code, message }) => code ?? message);
      const codes = [];
      for (const request of requests) {
        codes.push(await run(request));
      }
      const image = new ImageData(4, 4);
      codes.push(await run({ images: Array.from({ length: 11 }, () => ({ image, role: "asset" })) }));
      codes.push(await run({ images: [{ image, role: "mask" }] }));
      codes.push(await run({}));
      return codes;
    }, wrong);
    assert.deepEqual(codes, [...wrong.map(() => "request"), "request", "request", "done"]);
  });

  test("cancel at any moment", options, async () => {
    const names = await page.evaluate(async () => {
      const model = (await import("/www/demo/model.js")).loaded();
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

  test("nothing was thrown that nobody caught", () => {
    assert.deepEqual(problems, []);
  });
});

test("by keyboard alone", { timeout: 180_000 }, async () => {
  const page = await visit();
  await page.goto(address());
  await reach(page, ["waiting"]);
  const tabTo = async (selector) => {
    for (let presses = 0; presses < 80; presses += 1) {
      if (await page.evaluate((wanted) => document.activeElement.matches(wanted), selector)) {
        return;
      }
      await page.keyboard.press("Tab");
    }
    assert.fail(`Tab does not reach ${selector}`);
  };
  await tabTo(".skip");
  await tabTo("#load");
  await page.keyboard.press("Enter");
  await reach(page, ["ready"], WORK);
  await tabTo("#examples .thumb");
  await page.keyboard.press("Enter");
  await page.waitForSelector('#slots[data-count="1"]', { state: "attached" });
  await tabTo("#slots .role");
  await page.keyboard.press("ArrowDown");
  assert.equal(await page.inputValue("#slots .role"), "asset");
  await page.keyboard.press("ArrowUp");
  await tabTo("#prompt");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("make it green");
  await tabTo("#settings summary");
  await page.keyboard.press("Enter");
  await tabTo("#steps");
  await page.keyboard.press("End");
  assert.equal(await page.inputValue("#steps"), "100");
  await page.keyboard.press("Control+Enter");
  await page.waitForSelector('#result[data-state="preview"]', { timeout: WORK });
  await page.keyboard.press("Escape");
  await reach(page, ["cancelled"], 2000);
  await page.keyboard.press("Home");
  assert.equal(await page.inputValue("#steps"), "1");
  await page.keyboard.press("Control+Enter");
  await reach(page, ["done"], WORK);
  await tabTo("#download");
  const [file] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("Enter")]);
  assert.match(file.suggestedFilename(), /^unireal-\d+\.png$/);
  await tabTo("#use-as-input");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement.id === "prompt");
  await page.context().close();
});

for (const colorScheme of ["light", "dark"]) {
  test(`on a phone, ${colorScheme}`, options, async () => {
    const page = await visit({ viewport: { width: 360, height: 740 }, colorScheme, hasTouch: true, isMobile: true });
    const fits = async (where) => {
      const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
      assert.ok(content <= screen && screen <= 360, `${where}: ${content} px on ${screen} px`);
    };
    await page.goto(address());
    await reach(page, ["waiting"]);
    await fits("first");
    await page.tap("#load");
    await reach(page, ["ready"], WORK);
    await choose(page, [red, blue, red], 3);
    await page.tap("#context summary");
    await page.tap("#settings summary");
    await set(page, "steps", 1);
    await set(page, "outputs", 2);
    await fits("ready");
    await stillWorks(page);
    await fits("done");
    await generate(page, `IMG9 ${"unbreakable".repeat(40)}`);
    await fits("error");
    const small = await page.$$eval("button, select, summary, a.button", (all) => all
      .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 30).map(({ id, className }) => id || className));
    assert.deepEqual(small, [], "too small to be tapped");
    const faint = await page.evaluate(contrasts);
    assert.deepEqual(faint, []);
    await page.context().close();
  });
}

/** Texts whose contrast with what lies behind them is below 4.5 (WCAG AA). Runs in the page. */
function contrasts() {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = (color) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (color) => {
    const [r, g, b] = color.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = paint(getComputedStyle(one).backgroundColor);
      if (color[3] === 255) {
        return color;
      }
    }
    return [255, 255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("h1, h2, p, button, label, summary, .value, .hint, .notice p, .button")) {
    if (!element.checkVisibility() || !element.innerText.trim() || element.disabled) {
      continue;
    }
    const [one, other] = [paint(getComputedStyle(element).color), behind(element)].map(luminance);
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) {
      faint.push(`${element.tagName} "${element.innerText.slice(0, 30)}": ${ratio.toFixed(2)}`);
    }
  }
  return faint;
}

test("WebGPU makes the picture that the CPU makes", { timeout: 240_000 }, async () => {
  const pictures = {};
  const page = await visit();
  for (const device of ["webgpu", "cpu"]) {
    await load(page, address(`device=${device}`), 120_000);
    assert.equal(await page.getAttribute("#model", "data-device"), device);
    await choose(page, red, 1);
    await set(page, "steps", 2);
    await set(page, "seed", 3);
    await page.fill("#prompt", "make it green");
    await page.click("#generate");
    const { state } = await reach(page, ["done", "error"], 150_000);
    assert.equal(state, "done", await notice(page, "error"));
    pictures[device] = (await pixels(page)).split(",").map(Number);
  }
  await page.context().close();
  const difference = pictures.cpu.reduce((sum, value, i) => sum + Math.abs(value - pictures.webgpu[i]), 0) / pictures.cpu.length;
  assert.ok(difference <= 1, `mean absolute difference ${difference} of 255`);
});

test("without WebGPU: auto takes the CPU, webgpu is unsupported", { timeout: 180_000 }, async () => {
  const plain = await launch({ webgpu: false });
  try {
    const page = await visit({}, plain);
    await load(page, address("device=auto"), WORK);
    assert.equal(await page.getAttribute("#model", "data-device"), "cpu");
    await set(page, "steps", 1);
    await stillWorks(page);
    await page.goto(address("device=webgpu"));
    const { code } = await reach(page, ["error"], WORK);
    assert.equal(code, "unsupported");
    await page.click("#settings summary");
    await page.selectOption("#device", "cpu");
    await page.click("#load");
    await reach(page, ["ready"], WORK);
    await set(page, "steps", 1);
    await stillWorks(page);
  } finally {
    await plain.close();
  }
});

test("a host that does not answer: the reason is shown, and a second try works", options, async () => {
  const page = await visit();
  offline = true;
  try {
    await page.goto(address());
    assert.equal((await reach(page, ["error"], WORK)).code, "network");
    assert.match(await notice(page, "load-error"), /did not get through/);
  } finally {
    offline = false;
  }
  await page.click("#load");
  await reach(page, ["waiting"], WORK);
  await page.click("#load");
  await reach(page, ["ready"], WORK);
  await page.context().close();
});
