/** `<unireal-editor>` embedded in other pages: properties, events, theme, and two editors on one page. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { DIST, launch, reach, set } from "./browser.mjs";
import { serve } from "./server.mjs";
import { WORK, choose, options, red } from "./site.mjs";

const PACK = "/www/models/tabletop/";
/** The strictest content security policy that the editor works with. */
const POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; img-src blob:; connect-src 'self'";

const files = new Map();
let server, browser;
const problems = [];

before(async () => {
  server = await serve(DIST, 0, { files });
  browser = await launch({ webgpu: false });
});

after(async () => {
  await browser?.close();
  await server?.close();
  assert.deepEqual(problems, [], "something was thrown that nobody caught");
});

/** Returns a page with this body under the strict policy. */
async function open(t, body, head = "") {
  files.set("/host.html", Buffer.from(`<!doctype html><html lang="en"><meta charset="utf-8"><title>Host</title>
    <meta http-equiv="Content-Security-Policy" content="${POLICY}">${head}${body}`));
  const context = await browser.newContext({ acceptDownloads: true });
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => /Content Security Policy/.test(message.text()) && problems.push(message.text()));
  await page.goto(`${server.url}host.html`);
  return page;
}

const MODULE = '<script type="module" src="/www/editor.js"></script>';

test("a page controls the editor and receives its events", { timeout: 180_000 }, async (t) => {
  const page = await open(t, `<unireal-editor pack="${PACK}" device="cpu"></unireal-editor>`, MODULE);
  await reach(page, ["waiting"]);
  const seen = await page.evaluate(async (bytes) => {
    const editor = document.querySelector("unireal-editor");
    const events = [];
    for (const name of ["ready", "progress", "result", "error"]) {
      document.addEventListener(`unireal-${name}`, (event) => events.push({ name, target: event.target === editor, detail: event.detail }));
    }
    const early = await editor.generate().catch(({ name, code }) => ({ name, code }));
    const model = await editor.load();
    editor.images = [{ image: new Blob([new Uint8Array(bytes)], { type: "image/png" }), role: "canvas" }, { image: new ImageData(8, 8), role: "asset" }];
    editor.prompt = "make it green";
    editor.request = { steps: 2, seed: 11, context: ["realistic style", "static scenario"] };
    const running = editor.generate();
    const second = await editor.generate().catch(({ name, code }) => ({ name, code }));
    const result = await running;
    editor.request = { prompt: "put IMG9 here" };
    const wrong = await editor.generate().catch(({ name, code }) => ({ name, code }));
    const bitmap = await createImageBitmap(result.images[0]);
    return {
      early, second, wrong,
      same: model === editor.model,
      sample: model.info.sampleSize,
      size: [bitmap.width, bitmap.height],
      names: result.images.map(({ name }) => name),
      request: result.request,
      roles: editor.images.map(({ image, role }) => [image instanceof Blob, role]),
      targets: events.every(({ target }) => target),
      order: events.map(({ name, detail }) => (name === "progress" ? detail.stage : name)).filter((one, at, all) => one !== all[at - 1]),
      last: events.filter(({ name, detail }) => name === "progress" && detail.stage === "steps").at(-1).detail,
      error: events.at(-1).detail.code,
    };
  }, [...red.buffer]);
  assert.deepEqual(seen, {
    early: { name: "UniRealError", code: "request" },
    second: { name: "UniRealError", code: "busy" },
    wrong: { name: "UniRealError", code: "request" },
    same: true,
    sample: seen.sample,
    size: [seen.sample, seen.sample],
    names: ["unireal-11.png"],
    request: { prompt: "make it green", context: ["realistic style", "static scenario"], outputs: 1, steps: 2, guidance: 2, imageGuidance: 1, composite: true, seed: 11 },
    roles: [[true, "canvas"], [true, "asset"]],
    targets: true,
    order: ["download", "ready", "steps", "result", "error"],
    last: { stage: "steps", step: 2, steps: 2 },
    error: "request",
  });

  const stopped = await page.evaluate(async () => {
    const editor = document.querySelector("unireal-editor");
    editor.request = { prompt: "a red cube", steps: 100 };
    editor.images = [];
    const running = editor.generate().catch(({ name }) => name);
    setTimeout(() => editor.cancel(), 300);
    return running;
  });
  assert.equal(stopped, "AbortError");
});

test("a load uses the pack that was set last", { timeout: 180_000 }, async (t) => {
  const page = await open(t, "", MODULE);
  const seen = await page.evaluate(async (pack) => {
    await customElements.whenDefined("unireal-editor");
    const editor = document.createElement("unireal-editor");
    Object.assign(editor, { pack, device: "cpu" });
    document.body.append(editor);
    const first = await editor.load();
    editor.pack = "/nowhere/";
    const wrong = await editor.load().catch(({ code }) => code);
    const none = editor.model;
    editor.pack = pack;
    const again = await editor.load();
    return { name: first.info.name, wrong, none, again: again.info.name, same: again === editor.model, sample: editor.sampleSize };
  }, PACK);
  assert.deepEqual(seen, { name: "unireal-tabletop", wrong: "network", none: null, again: "unireal-tabletop", same: true, sample: 64 });
});

test("two editors on one page do not disturb each other or the page", { timeout: 180_000 }, async (t) => {
  const page = await open(t, `<input id="prompt" value="the page's own"><unireal-editor id="one" pack="${PACK}" device="cpu"></unireal-editor>
    <unireal-editor id="two" pack="${PACK}" device="cpu"></unireal-editor>`, MODULE);
  const [one, two] = ["#one", "#two"].map((selector) => page.locator(selector));
  await one.locator("#load").click();
  await one.locator('#status[data-state="ready"]').waitFor({ state: "attached", timeout: WORK });
  assert.equal(await two.locator("#status").getAttribute("data-state"), "waiting");
  await one.locator("#file").setInputFiles(red);
  await one.locator('#slots[data-count="1"]').waitFor();
  await one.locator("#prompt").fill("remove the cube");
  await one.locator("#settings summary").click();
  await one.locator("#steps").fill("2");
  await one.locator('#tasks [data-task="find"]').click();

  // Keys, drops and pastes reach only the editor that they target.
  await two.locator("#prompt").focus();
  await page.keyboard.press("Control+Enter");
  assert.match(await two.locator("#status").textContent(), /First download/);
  await page.evaluate((bytes) => {
    for (const target of [document.querySelector("#two"), document.body]) {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
      for (const type of ["dragenter", "dragover", "drop"]) {
        target.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
      }
    }
  }, [...red.buffer]);
  await two.locator('#slots[data-count="1"]').waitFor();
  await one.locator("#prompt").focus();
  await page.keyboard.press("Control+Enter");
  await one.locator('#status[data-state="done"]').waitFor({ state: "attached", timeout: WORK });
  assert.deepEqual(await page.evaluate(() => {
    const [one, two] = document.querySelectorAll("unireal-editor");
    return [one.images.length, two.images.length, one.request.context.length, two.request.context, two.prompt, one.request.steps, two.request.steps, one.model.info.steps, document.getElementById("prompt").value];
  }), [1, 1, 2, null, "", 2, 8, 8, "the page's own"]);
  const outside = await page.evaluate(() => [...document.querySelectorAll("[id]")].map(({ id }) => id));
  assert.deepEqual(outside, ["prompt", "one", "two"]);
  assert.equal(await two.locator("#result").getAttribute("data-state"), "empty");

  // A removed editor frees its model. Inserted again, it keeps its images and prompt and loads the model again.
  const state = await page.evaluate(async () => {
    const editor = document.querySelector("#one");
    const { model } = editor;
    document.body.append(editor);
    await new Promise((resolve) => setTimeout(resolve));
    const moved = editor.model === model;
    editor.remove();
    await new Promise((resolve) => setTimeout(resolve));
    const gone = editor.model;
    document.body.append(editor);
    return { moved, gone, images: editor.images.length, prompt: editor.prompt };
  });
  assert.deepEqual(state, { moved: true, gone: null, images: 1, prompt: "remove the cube" });
  await one.locator('#status[data-state="ready"]').waitFor({ state: "attached", timeout: WORK });
});

test("whole-page listens on the page, and a removed editor leaves no listener", options, async (t) => {
  const page = await open(t, `<p id="text">Text</p><unireal-editor pack="${PACK}" whole-page></unireal-editor>`, MODULE);
  await reach(page, ["waiting"]);
  const hint = () => page.textContent("#status");
  await page.keyboard.press("Control+Enter");
  assert.match(await hint(), /First download/);
  assert.equal(await page.isVisible("#share"), true);
  const after = await page.evaluate(() => {
    const editor = document.querySelector("unireal-editor");
    editor.remove();
    const event = new KeyboardEvent("keydown", { key: "Enter", ctrlKey: true, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
    editor.removeAttribute("whole-page");
    document.body.append(editor);
    const again = new KeyboardEvent("keydown", { key: "Enter", ctrlKey: true, bubbles: true, cancelable: true });
    document.body.dispatchEvent(again);
    return [event.defaultPrevented, again.defaultPrevented];
  });
  assert.deepEqual(after, [false, false]);
  assert.equal(await page.isVisible("#share"), false);
});

test("a page's theme", options, async (t) => {
  files.set("/theme.css", Buffer.from(`
    unireal-editor { --unireal-accent: rgb(200 0 90); --unireal-radius: 2px; color-scheme: dark; }
    button { background: lime !important; }`));
  const page = await open(t, `<unireal-editor pack="${PACK}"></unireal-editor><unireal-editor pack="/nowhere/"></unireal-editor>`, `${MODULE}<link rel="stylesheet" href="/theme.css">`);
  await page.locator("#load").first().waitFor();
  const [load, card, ink] = await page.locator("unireal-editor").first().evaluate(({ shadowRoot }) => [
    getComputedStyle(shadowRoot.getElementById("load")).backgroundColor,
    getComputedStyle(shadowRoot.getElementById("model")).borderRadius,
    getComputedStyle(shadowRoot.host).color,
  ]);
  assert.deepEqual([load, card, ink], ["rgb(200, 0, 90)", "2px", "rgb(236, 237, 238)"]);
  await page.locator("unireal-editor").nth(1).locator("#load-error").waitFor();
});

test("without a pack, an error names the missing attribute", options, async (t) => {
  const page = await open(t, "<unireal-editor></unireal-editor>", MODULE);
  const { code } = await reach(page, ["error"]);
  assert.equal(code, "request");
  assert.match(await page.textContent("#load-error"), /attribute "pack"/);
  await page.evaluate((pack) => (document.querySelector("unireal-editor").pack = pack), PACK);
  await reach(page, ["waiting"]);
  await choose(page, red, 1);
});

test("the README's example", { timeout: 180_000 }, async (t) => {
  const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");
  const [, example] = /```html\n(.*?)```/s.exec(readme);
  files.set("/example.html", Buffer.from(`<!doctype html>${example}`));
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  page.on("pageerror", (error) => problems.push(error.message));
  await page.goto(`${server.url}example.html`);
  await reach(page, ["waiting"]);
  await page.click("#load");
  await reach(page, ["ready"], WORK);
  await choose(page, red, 1);
  await page.fill("#prompt", "remove the red cube");
  await set(page, "steps", 1);
  const result = page.evaluate(
    () =>
      new Promise((resolve) => {
        document.querySelector("unireal-editor").addEventListener("unireal-result", ({ detail }) => resolve([detail.images.length, detail.request.prompt]));
      }),
  );
  await page.click("#generate");
  await reach(page, ["done"], WORK);
  assert.deepEqual(await result, [1, "remove the red cube"]);
});
