/** Lighthouse criteria: first paint before the engine loads, layout stability, page weight and metadata. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { reach } from "./browser.mjs";
import { WORK, options, site } from "./site.mjs";

const shared = site();

/** Maximum number of uncompressed bytes of a first visit without the engine: pages, code, styles and images. */
const LIGHT = 400_000;
/** Maximum time to the first paint from localhost in milliseconds; Lighthouse rates up to 1800 as good. */
const PAINTED = 1800;
/** Maximum cumulative layout shift that Lighthouse rates as good. */
const SHIFT = 0.1;

for (const viewport of [{ width: 1280, height: 800 }, { width: 360, height: 740 }]) {
  test(`first paint without waiting for wasm, ${viewport.width} pixels wide`, options, async (t) => {
    const page = await shared.visit({ viewport, serviceWorkers: "block" });
    let release;
    const held = new Promise((resolve) => (release = resolve));
    let asked = 0;
    await page.route("**/*.wasm*", async (route) => {
      asked += 1;
      await held;
      await route.continue();
    });
    await page.addInitScript(() => {
      window.shifts = 0;
      new PerformanceObserver((list) => list.getEntries().forEach(({ value, hadRecentInput }) => (window.shifts += hadRecentInput ? 0 : value)))
        .observe({ type: "layout-shift", buffered: true });
    });
    await page.goto(shared.address());
    // The whole page is visible and usable while the engine loads.
    await page.waitForSelector("#tasks .tag");
    await page.fill("#prompt", "remove the red cube");
    await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length > 0);
    await page.waitForFunction(() => document.querySelector("unireal-editor").shadowRoot.querySelectorAll("#examples img").length > 0);
    const { paint, bytes, kinds } = await page.evaluate(() => {
      const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
      return {
        paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
        bytes: all.reduce((sum, { decodedBodySize }) => sum + decodedBodySize, 0),
        kinds: all.filter(({ name }) => name.includes(".wasm")).length,
      };
    });
    assert.equal(kinds, 0, "wasm had arrived");
    // The worker requests the wasm by itself, possibly after the first paint.
    for (let waited = 0; asked === 0 && waited < 5000; waited += 20) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.equal(asked, 1, "the engine was not asked for meanwhile");
    assert.ok(paint < PAINTED, `first paint after ${paint} ms`);
    assert.ok(bytes < LIGHT, `${bytes} bytes before the engine`);
    release();
    await reach(page, ["waiting"], WORK);
    const shifts = await page.evaluate(() => window.shifts);
    t.diagnostic(`first paint after ${Math.round(paint)} ms, ${bytes} bytes, layout shift ${shifts.toFixed(3)}`);
    assert.ok(shifts < SHIFT, `the page shifts by ${shifts}`);
    await page.context().close();
  });
}

test("the page has its metadata, and the console shows no errors", options, async () => {
  const page = await shared.visit();
  const said = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && said.push(message.text()));
  await page.goto(shared.address());
  await reach(page, ["waiting"], WORK);
  const facts = await page.evaluate(() => ({
    type: document.doctype?.name,
    language: document.documentElement.lang,
    title: document.title.length,
    description: document.querySelector("meta[name=description]")?.content.length ?? 0,
    viewport: document.querySelector("meta[name=viewport]")?.content,
    headings: document.querySelectorAll("h1").length,
    unsized: [...document.images].filter((image) => !image.hasAttribute("width") || !image.hasAttribute("alt")).length,
    blocking: [...document.querySelectorAll("head script:not([type=module], [async], [defer])")].length,
  }));
  const { title, description, ...others } = facts;
  assert.ok(title > 10 && title < 70, `a title of ${title} characters`);
  assert.ok(description > 50 && description < 170, `a description of ${description} characters`);
  assert.deepEqual(others, { type: "html", language: "en", viewport: "width=device-width, initial-scale=1", headings: 1, unsized: 0, blocking: 0 });
  assert.deepEqual(said, []);
  await page.context().close();
});
