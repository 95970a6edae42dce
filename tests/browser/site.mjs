/** A fixture for the demo page: the built site on a server, a browser, and user actions. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before } from "node:test";
import { DIST, launch, notice, reach } from "./browser.mjs";
import { rgba } from "./images.mjs";
import { serve } from "./server.mjs";

/** Timeout in milliseconds of a request with a few steps on a slow machine. */
export const WORK = 60_000;
/** Options of most tests. */
export const options = { timeout: 120_000 };

export const red = { name: "red.png", mimeType: "image/png", buffer: rgba(64, 64, (x, y) => [200, x, y, 255]) };
export const blue = { name: "blue.png", mimeType: "image/png", buffer: rgba(48, 64, (x, y) => [x, y, 200, 255]) };

/**
 * Sets up the site and a browser for a test file.
 * @returns `offline`, which makes the model's server refuse connections while true; `requests` to the server;
 * `problems`, a list of uncaught errors; `visit`, which opens a page in a new context; `address` of the demo
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
      // axe injects styles, which the policy refuses; the editor's test checks the page's own styles.
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

/** Adds images with the file dialog and waits until they are there, or until the page reports a problem. */
export async function choose(page, given, count) {
  await page.setInputFiles("#file", given);
  await page.waitForSelector(`#slots[data-count="${count}"], #image-note:not([hidden])`, { state: "attached" });
}

export async function clear(page) {
  while (await page.locator("#slots .remove").count()) {
    await page.locator("#slots .remove").first().click();
  }
}

/** Presses Generate and waits until the request ends. */
export async function generate(page, prompt) {
  await page.fill("#prompt", prompt);
  await page.$eval("#status", ({ dataset }) => (dataset.state = "asked"));
  await page.click("#generate");
  return reach(page, ["done", "error", "cancelled"], WORK);
}

/** Returns the first result's pixels as text for comparison. */
export const pixels = (page) => page.$eval("#result canvas", (canvas) =>
  canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.join());

export const resultSize = (page) => page.$eval("#result canvas", ({ width, height }) => ({ width, height }));

export async function download(page) {
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  return { name: file.suggestedFilename(), bytes: await readFile(await file.path()) };
}

/** Runs a valid request to check that the page still works. */
export async function stillWorks(page) {
  const { state } = await generate(page, "remove the red cube");
  assert.equal(state, "done", await notice(page, "error"));
}
