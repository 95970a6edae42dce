/** The tasks to start from, which set roles, tags and ideas and list the images they need; the mask painter; role chips. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { notice, reach, set } from "./browser.mjs";
import { rgba } from "./images.mjs";
import { WORK, blue, choose, clear, options, red, site, stillWorks } from "./site.mjs";

const shared = site();
describe("tasks", () => {
  let page;

  /** 120 x 80, so that a mask of another shape would be noticed. */
  const wide = { name: "wide.png", mimeType: "image/png", buffer: rgba(120, 80, (x, y) => [2 * x, 3 * y, 90, 255]) };

  before(async () => {
    page = await shared.visit();
    await page.goto(shared.address());
    await reach(page, ["waiting"]);
  });

  after(() => page?.context().close());

  const start = (task) => page.click(`#tasks [data-task="${task}"]`);
  const roles = () => page.$$eval("#slots .role", (all) => all.map(({ value }) => value));
  const tags = () => page.textContent("#context-summary");
  const needs = () => page.textContent("#needs");
  const pressed = () => page.$$eval('#tasks [aria-pressed="true"]', (all) => all.map(({ dataset }) => dataset.task));

  test("each task has its images, roles, tags, placeholder and ideas", options, async () => {
    await start("insert");
    assert.deepEqual(await pressed(), ["insert"]);
    assert.match(await page.textContent("#drop-title"), /the picture to edit/);
    assert.match(await needs(), /the picture to edit, then a picture with the object/);
    assert.match(await page.getAttribute("#prompt", "placeholder"), /IMG2 into IMG1/);
    await page.locator("#ideas .chip").first().click();
    assert.match(await page.inputValue("#prompt"), /IMG2/);
    await choose(page, red, 1);
    assert.match(await needs(), /^Still to add: a picture with the object\.$/);
    await choose(page, blue, 2);
    assert.equal(await needs(), "");
    assert.deepEqual(await roles(), ["canvas", "asset"]);

    await start("scene");
    assert.deepEqual(await roles(), ["asset", "asset"]);
    await start("find");
    assert.deepEqual([(await roles())[0], await tags()], ["canvas", "realistic style, perception task"]);
    await start("edit");
    assert.deepEqual([(await roles())[0], await tags()], ["canvas", "automatic"]);
    const prompt = await page.inputValue("#prompt");

    // Undo restores the images that a task removed.
    await start("make");
    await page.waitForSelector('#slots[data-count="0"]', { state: "attached" });
    assert.equal(await page.inputValue("#prompt"), prompt);
    await page.click("#undo");
    await page.waitForSelector('#slots[data-count="2"]', { state: "attached" });
    await clear(page);
  });

  /** Returns facts about the image at an index. */
  const imageAt = (place) => page.evaluate(async (at) => {
    const { image, role } = document.querySelector("unireal-editor").images[at];
    const bitmap = await createImageBitmap(image);
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
    const values = [...new Set(data)].sort((one, other) => one - other);
    const light = (x, y) => data[4 * (Math.round(y * bitmap.height) * bitmap.width + Math.round(x * bitmap.width))];
    return { role, width: bitmap.width, height: bitmap.height, values, corner: light(0, 0), middle: light(0.5, 0.5), right: light(0.8, 0.5) };
  }, place);

  /** Returns whether the painter's canvas is painted at points of its middle row, which are fractions of its width. */
  const painted = (points) => page.$eval("#painter-canvas", (canvas, points) => {
    const { data } = canvas.getContext("2d").getImageData(0, canvas.height / 2, canvas.width, 1);
    return points.map((x) => data[4 * Math.round(x * canvas.width) + 3] > 0);
  }, points);

  test("a mask is painted by pointer, undone, cleared, and becomes a control image of the canvas's size", options, async () => {
    await start("fill");
    assert.match(await needs(), /the picture to edit/);
    await choose(page, wide, 1);
    assert.match(await needs(), /paint the area/);
    await page.click("#paint");
    await page.waitForSelector("#painter[open]");
    assert.equal(await page.isDisabled("#painter-done"), true);
    const box = await page.locator("#painter-canvas").boundingBox();
    assert.ok(Math.abs(box.width / box.height - 1.5) < 0.03, `${box.width} x ${box.height}`);
    const at = (x, y) => [box.x + x * box.width, box.y + y * box.height];
    const stroke = async (from, to) => {
      await page.mouse.move(...at(...from));
      await page.mouse.down();
      await page.mouse.move(...at(...to), { steps: 6 });
      await page.mouse.up();
    };
    await set(page, "painter-size", 20);
    await stroke([0.3, 0.5], [0.55, 0.5]);
    await stroke([0.75, 0.5], [0.85, 0.5]);
    assert.match(await page.textContent("#painter-status"), /^2 areas/);
    await page.click("#painter-undo");
    await page.waitForSelector('#painter-status:text("1 area is")');
    await page.click("#painter-done");
    await page.waitForSelector('#slots[data-count="2"]', { state: "attached" });
    const mask = await imageAt(1);
    assert.deepEqual(mask, { role: "control", width: 120, height: 80, values: [0, 255], corner: 0, middle: 255, right: 0 });
    assert.equal(await needs(), "");

    // Reopening keeps the strokes; a new mask replaces the old one.
    await page.click("#paint");
    await page.waitForSelector("#painter[open]");
    await page.waitForSelector('#painter-status:text("1 area is")');
    await page.click("#painter-clear");
    await page.waitForSelector('#painter-status:text("Nothing")');
    await page.keyboard.press("Escape");
    await page.waitForSelector("#painter[open]", { state: "detached" });
    assert.deepEqual(await imageAt(1), mask);
  });

  test("a mask by the keyboard alone", options, async () => {
    await page.focus("#paint");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#painter[open]");
    assert.equal(await page.$eval("#painter-canvas", (canvas) => canvas.getRootNode().activeElement === canvas), true);
    for (const key of ["ArrowRight", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowDown"]) {
      await page.keyboard.press(key);
    }
    assert.match(await page.textContent("#painter-status"), /^Rectangle: 4\d% from the left, 3\d% from the top, 2\d% wide/);
    await page.keyboard.press("Enter");
    assert.match(await page.textContent("#painter-status"), /^1 area is/);
    await page.keyboard.press("Control+z");
    await page.waitForSelector('#painter-status:text("Nothing")');
    await page.keyboard.press("Enter");
    await page.focus("#painter-done");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#painter[open]", { state: "detached" });
    await page.waitForFunction(() => document.querySelector("unireal-editor").shadowRoot.activeElement?.id === "prompt");
    const { values, corner, middle } = await imageAt(1);
    assert.deepEqual([values, corner, middle], [[0, 255], 0, 255]);
  });

  test("extending an image by a painted grey border, and undo", options, async () => {
    await page.click("#paint");
    await page.waitForSelector("#painter[open]");
    await page.click("#painter-clear");
    await page.waitForSelector('#painter-status:text("Nothing")');
    // A rectangle stays at its place in the image, however often the image is extended.
    await page.focus("#painter-canvas");
    for (const key of ["ArrowLeft", "ArrowRight", "Enter"]) {
      await page.keyboard.press(key);
    }
    assert.deepEqual(await painted([0.1, 0.35, 0.5, 0.65, 0.9]), [false, false, true, false, false]);
    for (const width of [180, 270]) {
      await page.click("#painter-extend");
      await page.waitForFunction((width) => document.querySelector("unireal-editor").shadowRoot.getElementById("painter-canvas").width === width, width);
      await page.waitForSelector('#painter-status:text("grey border")');
    }
    // The picture is the middle 4/9, between two borders on each side; the rectangle is its middle quarter.
    assert.deepEqual(await painted([0.1, 0.25, 0.35, 0.5, 0.65, 0.75, 0.9]), [true, true, false, true, false, true, true]);
    for (const status of ["5 areas", "1 area is", "Nothing"]) {
      await page.click("#painter-undo");
      await page.waitForSelector(`#painter-status:text("${status}")`);
    }
    await page.click("#painter-extend");
    await page.waitForSelector('#painter-status:text("grey border")');
    const [box, stage] = [await page.locator("#painter-canvas").boundingBox(), await page.locator("#painter-stage").boundingBox()];
    assert.ok(Math.abs(box.width / box.height - 1.5) < 0.03 && box.width <= stage.width + 1);
    await page.click("#painter-undo");
    await page.waitForSelector('#painter-status:text("Nothing")');
    assert.equal(await page.$eval("#painter-canvas", ({ width }) => width), 120);
    await page.click("#painter-extend");
    await page.waitForSelector('#painter-status:text("grey border")');
    await page.click("#painter-done");
    await page.waitForFunction(() => document.querySelector("unireal-editor").shadowRoot.activeElement?.id === "prompt");
    const [canvas, mask] = [await imageAt(0), await imageAt(1)];
    assert.deepEqual([canvas.role, canvas.width, canvas.height, canvas.corner], ["canvas", 180, 120, 128]);
    assert.deepEqual(mask, { role: "control", width: 180, height: 120, values: [0, 255], corner: 255, middle: 0, right: 0 });
  });

  test("a request with a painted area runs", options, async () => {
    await page.click("#load");
    await reach(page, ["ready"], WORK);
    await set(page, "steps", 1);
    await stillWorks(page);
    assert.equal(await page.isVisible("#error"), false, await notice(page, "error"));
  });

  test("an image is dragged to another place", options, async () => {
    await clear(page);
    await choose(page, [red, blue, wide], 3);
    await page.locator("#slots .role").nth(2).selectOption("control");
    const chips = () => page.$$eval("#slots .handle-text", (all) => all.map(({ textContent }) => textContent));
    const before = await chips();
    assert.match(before[2], /^Follow shape$/);
    await page.locator("#slots .handle").nth(2).scrollIntoViewIfNeeded();
    const from = await page.locator("#slots .handle").nth(2).boundingBox();
    const to = await page.locator("#slots .frame").first().boundingBox();
    await page.mouse.move(from.x + 8, from.y + 8);
    await page.mouse.down();
    await page.mouse.move(to.x + to.width / 2, to.y + to.height / 2, { steps: 8 });
    assert.equal(await page.locator("#slots .target").count(), 1);
    await page.mouse.up();
    assert.match((await chips())[0], /^Follow shape$/);
    assert.equal(await page.locator("#slots .dragged, #slots .target").count(), 0);
    assert.match(await page.textContent("#status"), /^IMG3 is now IMG1\.$/);

    // A drop outside all images moves nothing, and neither does a click.
    const order = await chips();
    const again = await page.locator("#slots .handle").nth(1).boundingBox();
    await page.mouse.move(again.x + 8, again.y + 8);
    await page.mouse.down();
    await page.mouse.up();
    await page.mouse.down();
    await page.mouse.move(2, 2, { steps: 4 });
    await page.mouse.up();
    assert.deepEqual(await chips(), order);
  });
});
