/** The pages that the evaluation writes, opened from disk: the browser of a run, and the preference study. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { NATIVE, launch } from "./browser.mjs";
import { rgba } from "./images.mjs";

const EVIL = `</script><script>window.struck = 1</script><!-- <img src=x onerror="window.struck = 1">`;
const SESSIONS = ["139", "140", "141"];
const native = (...options) => promisify(execFile)(NATIVE, ["evaluate", ...options]);

let folder, browser, page, problems;

async function save(path, contents) {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, contents);
}

/** Writes a data set in MagicBrush's layout: sessions of one turn with hostile instructions and captions. */
async function dataSet() {
  const sessions = {}, captions = {};
  for (const [i, id] of SESSIONS.entries()) {
    const turn = { input: `${id}-input.png`, mask: `${id}-mask1.png`, output: `${id}-output1.png`, instruction: `${EVIL} ${id}` };
    sessions[id] = [turn];
    captions[id] = { [turn.input]: `before ${EVIL}`, [turn.output]: `after ${EVIL}` };
    for (const [k, name] of [turn.input, turn.mask, turn.output].entries()) {
      await save(join(folder, "set/images", id, name), rgba(48, 32, (x, y) => [60 * i, 5 * x, 80 * k + y, 255]));
    }
  }
  await save(join(folder, "set/edit_sessions.json"), JSON.stringify(sessions));
  await save(join(folder, "set/edit_turns.json"), JSON.stringify(Object.values(sessions).flat()));
  for (const name of ["global_descriptions", "local_descriptions"]) {
    await save(join(folder, `set/${name}.json`), JSON.stringify(captions));
  }
}

/** Evaluates a run whose results have one colour. */
async function run(name, red) {
  for (const id of SESSIONS) {
    await save(join(folder, `${name}-results`, id, `${id}_1.png`), rgba(40, 40, (x, y) => [red, x, y, 255]));
  }
  await native("benchmark", "--profile", "magicbrush/all-turn", "--data", join(folder, "set"), "--images", join(folder, `${name}-results`),
    "--name", `${name} ${EVIL}`, "--out", join(folder, name));
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "unireal-study-"));
  await dataSet();
  await run("first", 250);
  await run("second", 10);
  await native("preference", "--ours", join(folder, "first"), "--theirs", join(folder, "second"), "--out", join(folder, "study"), "--seed", "5");
  browser = await launch({ webgpu: false });
});

after(async () => {
  await browser?.close();
  await rm(folder, { recursive: true, force: true });
});

async function open(path) {
  problems = [];
  page = await browser.newPage({ acceptDownloads: true });
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("request", (request) => /^(file|blob|data):/.test(request.url()) || problems.push(`a request to ${request.url()}`));
  await page.goto(pathToFileURL(join(folder, path)).href);
}

/** Waits for all visible images. Returns their alt text and width. */
const visibleImages = () => page.evaluate(async () => {
  const shown = [...document.images].filter((image) => image.checkVisibility());
  shown.forEach((image) => (image.loading = "eager"));
  await Promise.all(shown.map((image) => image.decode()));
  return shown.map((image) => [image.alt, image.naturalWidth]);
});

/** Asserts that no text of the data set became markup, and that there were no errors. */
async function unharmed() {
  assert.equal(await page.evaluate(() => window.struck), undefined);
  assert.equal(await page.locator("img[src=x]").count(), 0);
  assert.deepEqual(problems, []);
}

async function axe() {
  await page.evaluate(await readFile(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8"));
  const found = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ["violations"], preload: false });
    return violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`);
  });
  assert.deepEqual(found, []);
}

test("a run's page shows its table, its cases and their images", { timeout: 60_000 }, async () => {
  await open("first/index.html");
  assert.deepEqual(await visibleImages(), SESSIONS.flatMap(() => [["input", 48], ["result", 40], ["truth", 48]]));
  assert.match(await page.locator("h1").innerText(), /first <\/script><script>window.struck/);
  const texts = await page.locator(".cases h3").allInnerTexts();
  assert.deepEqual(texts.map((text) => text.slice(-3)), SESSIONS);
  const rows = await page.locator("tbody tr").allInnerTexts();
  assert.ok(rows[0].includes("this run, 3 cases") && rows.some((row) => row.startsWith("UniReal")), rows[0]);
  await unharmed();
  await page.close();
});

test("a study is answered by keyboard, resumes on the next visit, and its answers are counted", { timeout: 120_000 }, async () => {
  const key = JSON.parse(await readFile(join(folder, "study/key.json"), "utf8"));
  await open("study/page/index.html");
  assert.ok(!(await page.content()).includes("first"), "the page says whose a result is");
  await page.keyboard.press("Tab");
  await page.keyboard.type("Ada");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("h1:visible").innerText(), "Pair 1 of 3");
  assert.equal((await visibleImages()).length, 3);
  await axe();

  // Missing answers are reported, and the first one gets the focus.
  await page.click("#next");
  assert.match(await page.locator("#problem").innerText(), /Details, Request, Quality/);
  assert.equal(await page.evaluate(() => document.activeElement.id), "detail-left");
  /** Returns the red value of the left image. The first run's images are red, and the rater always prefers that run. */
  const red = () => page.evaluate(() => {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("2d");
    context.drawImage(document.getElementById("left"), 0, 0);
    try {
      return context.getImageData(0, 0, 1, 1).data[0];
    } catch {
      return null; // pages from disk may not read image pixels
    }
  });
  for (const [i, { left }] of key.pairs.entries()) {
    await page.waitForFunction((title) => document.getElementById("title").textContent === title, `Pair ${i + 1} of 3`);
    const seen = await red();
    assert.ok(seen === null || (seen > 128) === (left === "ours"), `pair ${i + 1}: ${seen}, ${left}`);
    await page.focus("#detail-left");
    await page.keyboard.press(left === "ours" ? "1" : "3");
    await page.keyboard.press("2");
    await page.keyboard.press(left === "ours" ? "1" : "3");
    assert.equal(await page.evaluate(() => document.activeElement.id), "next");
    if (i === 1) {
      // A reload keeps the answers.
      await page.reload();
      assert.equal(await page.inputValue("#rater"), "Ada");
      await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      assert.equal(await page.locator("h1:visible").innerText(), "Pair 2 of 3");
      assert.ok(await page.isChecked("#alignment-same"));
      await page.focus("#next");
    }
    await page.keyboard.press("Enter");
  }
  assert.equal(await page.locator("h1:visible").innerText(), "Thank you");
  await axe();
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("#save")]);
  assert.equal(file.suggestedFilename(), "answers-Ada.json");
  const answers = join(folder, "answers.json");
  await file.saveAs(answers);
  assert.equal(await page.inputValue("#answers"), await readFile(answers, "utf8"));
  await unharmed();
  await page.close();

  const { stdout } = await native("answers", "--key", join(folder, "study/key.json"), answers, "--json");
  const rates = JSON.parse(stdout);
  assert.deepEqual([rates.detail.ours, rates.quality.ours, rates.alignment.same], [1, 1, 1]);
  assert.deepEqual([rates.detail.preference.low, rates.alignment.preference.mean], [1, 0.5]);
});
