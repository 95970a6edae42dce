/** A person at the demo page: the built site on a server, a browser, and what one does there. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before } from "node:test";
import { DIST, launch, notice, reach } from "./browser.mjs";
import { rgba } from "./pictures.mjs";
import { serve } from "./server.mjs";

/** Milliseconds for a request of a few steps on a slow machine. */
export const WORK = 60_000;
/** What most tests take. */
export const options = { timeout: 120_000 };

export const red = { name: "red.png", mimeType: "image/png", buffer: rgba(64, 64, (x, y) => [200, x, y, 255]) };
export const blue = { name: "blue.png", mimeType: "image/png", buffer: rgba(48, 64, (x, y) => [x, y, 200, 255]) };

/**
 * The site and a browser for the tests of one file.
 * @returns what they share: `offline`, while true the host of the model does not answer; `requests` to the server;
 *   `problems`, errors that nobody caught; `visit`, a page in a browser that has never been here; `address` of the demo
 */
export function site() {
  let server, browser;
  const shared = {
    offline: false,
    problems: [],
    get requests() {
      return server.requests;
    },
    address: (query = "device=cpu") => `${server.url}?${query}`,
    async visit(contextOptions = {}, from = browser) {
      const context = await from.newContext({ acceptDownloads: true, ...contextOptions });
      const page = await context.newPage();
      page.setDefaultTimeout(20_000);
      page.on("pageerror", (error) => shared.problems.push(error.message));
      // axe sets styles of its own, which are refused; the editor's test looks for those of the page.
      page.on("console", (message) => /Content Security Policy directive '(?!style-src)|TrustedHTML|TrustedScript/.test(message.text()) && shared.problems.push(message.text()));
      return page;
    },
  };
  before(async () => {
    server = await serve(DIST, 0, {
      intercept: ({ url }, response) => shared.offline && url.includes("/models/") && (response.destroy(), true),
    });
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server?.close();
    assert.deepEqual(shared.problems, [], "something was thrown that nobody caught");
  });
  return shared;
}

/** Chooses pictures by the file dialog and waits until they are there, or until the page says why not. */
export async function choose(page, given, count) {
  await page.setInputFiles("#file", given);
  await page.waitForSelector(`#slots[data-count="${count}"], #picture-note:not([hidden])`, { state: "attached" });
}

export async function clear(page) {
  while (await page.locator("#slots .remove").count()) {
    await page.locator("#slots .remove").first().click();
  }
}

/** Presses Generate and waits for how it ends. */
export async function generate(page, prompt) {
  await page.fill("#prompt", prompt);
  await page.$eval("#status", ({ dataset }) => (dataset.state = "asked"));
  await page.click("#generate");
  return reach(page, ["done", "error", "cancelled"], WORK);
}

/** The first result's pixels as text, to be compared. */
export const pixels = (page) => page.$eval("#result canvas", (canvas) =>
  canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.join());

export const resultSize = (page) => page.$eval("#result canvas", ({ width, height }) => ({ width, height }));

export async function download(page) {
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  return { name: file.suggestedFilename(), bytes: await readFile(await file.path()) };
}

/** A request that works, to show that the page does. */
export async function stillWorks(page) {
  const { state } = await generate(page, "remove the red cube");
  assert.equal(state, "done", await notice(page, "error"));
}
