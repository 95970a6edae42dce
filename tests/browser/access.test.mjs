/** Accessibility of the demo page: keyboard, phone layout, contrast in both colour schemes. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { reach, set } from "./browser.mjs";
import { WORK, blue, choose, generate, options, red, site, stillWorks } from "./site.mjs";

const shared = site();

test("by keyboard alone", { timeout: 180_000 }, async () => {
  const page = await shared.visit();
  await page.goto(shared.address());
  await reach(page, ["waiting"]);
  const tabTo = async (selector) => {
    for (let presses = 0; presses < 100; presses += 1) {
      if (await page.evaluate(focusMatches, selector)) {
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
  await page.waitForFunction(focusMatches, "#prompt");
  await page.context().close();
});

for (const colorScheme of ["light", "dark"]) {
  test(`on a phone, ${colorScheme}`, options, async () => {
    const page = await shared.visit({ viewport: { width: 360, height: 740 }, colorScheme, hasTouch: true, isMobile: true });
    const fits = async (where) => {
      const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
      assert.ok(content <= screen && screen <= 360, `${where}: ${content} px on ${screen} px`);
    };
    await page.goto(shared.address());
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

/** Returns whether the focused element, in the editor or outside, matches a selector. Runs in the page. */
function focusMatches(selector) {
  const { activeElement } = document;
  return (activeElement.shadowRoot?.activeElement ?? activeElement).matches(selector);
}

/** Returns texts whose contrast with their background is below 4.5 (WCAG AA). Runs in the page. */
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
    for (let one = element; one; one = one.parentElement ?? one.getRootNode().host) {
      const color = paint(getComputedStyle(one).backgroundColor);
      if (color[3] === 255) {
        return color;
      }
    }
    return [255, 255, 255, 255];
  };
  const faint = [];
  const texts = "h1, h2, h3, p, button, label, summary, .value, .hint, .notice p, .button, .tag span, .handle";
  const roots = [document, ...[...document.querySelectorAll("unireal-editor")].map(({ shadowRoot }) => shadowRoot)];
  for (const element of roots.flatMap((root) => [...root.querySelectorAll(texts)])) {
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

test("axe finds no serious violation in any state of the page", { timeout: 240_000 }, async () => {
  const source = await readFile(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
  for (const colorScheme of ["light", "dark"]) {
    const page = await shared.visit({ colorScheme, reducedMotion: "reduce" });
    await page.goto(shared.address());
    await reach(page, ["waiting"]);
    await page.evaluate(source);
    const clean = async (state) => {
      const found = await page.evaluate(async () => {
        const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
        return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
          .map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.flat().join(" > ")).join(", ")}`);
      });
      assert.deepEqual(found, [], `${state}, ${colorScheme}`);
    };
    await clean("first");
    await page.click("#load");
    await reach(page, ["ready"], WORK);
    await page.click('#tasks [data-task="fill"]');
    await choose(page, red, 1);
    await clean("a start chosen");
    await page.click("#paint");
    await page.waitForFunction(focusMatches, "#painter-canvas");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await clean("the painter");
    await page.click("#painter-done");
    await page.waitForSelector('#slots[data-count="2"]', { state: "attached" });
    await page.click("#context summary");
    await page.click("#settings summary");
    await set(page, "steps", 1);
    await stillWorks(page);
    await page.click("#compare-toggle");
    await clean("compared");
    await page.click("#variations");
    await reach(page, ["working"]);
    await reach(page, ["done"], WORK);
    await page.click("#compare-toggle");
    await clean("variations and history");
    await generate(page, "IMG9");
    await clean("an error");
    await page.context().close();
  }
});
