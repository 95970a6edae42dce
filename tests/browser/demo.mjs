/**
 * Runs the demo page in headless Chromium and writes the result.
 *
 *   node demo.mjs --image ROLE=PATH... --prompt TEXT --out B.png
 *     [--context TAG]... [--seed N] [--steps N] [--guidance G] [--image-guidance G] [--outputs N]
 *     [--device auto|webgpu|cpu] [--pack URL] [--json FILE] [--timeout SECONDS]
 *
 * Prints progress to stderr. The exit code is 0 if the image and the JSON of timings were written, 2 for invalid
 * options, and 1 for any other failure.
 */
import { access, constants, writeFile } from "node:fs/promises";
import { parse, resolve } from "node:path";
import { parseArgs } from "node:util";
import { DIST, launch, load, notice, reach, set } from "./browser.mjs";
import { serve } from "./server.mjs";

const ROLES = ["canvas", "asset", "control"];

class Usage extends Error {}

/** Parses and validates the options as far as possible without the page. */
async function options() {
  const text = { type: "string" };
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        image: { type: "string", multiple: true, default: [] },
        context: { type: "string", multiple: true, default: [] },
        prompt: text, out: text, json: text, pack: text,
        seed: text, steps: text, guidance: text, "image-guidance": text, outputs: text,
        device: { type: "string", default: "auto" },
        timeout: { type: "string", default: "600" },
      },
    }));
  } catch (error) {
    throw new Usage(error.message);
  }
  for (const name of ["prompt", "out"]) {
    if (!values[name]) {
      throw new Usage(`--${name} is needed`);
    }
  }
  if (!/\.png$/i.test(values.out)) {
    throw new Usage(`--out ${values.out}: the page makes PNG files, the name must end in .png`);
  }
  if (!["auto", "webgpu", "webgpu-f16", "cpu"].includes(values.device)) {
    throw new Usage(`--device ${values.device}: use auto, webgpu, webgpu-f16 or cpu`);
  }
  for (const name of ["seed", "steps", "guidance", "image-guidance", "outputs", "timeout"]) {
    if (values[name] !== undefined && !(values[name].trim() !== "" && Number(values[name]) >= 0)) {
      throw new Usage(`--${name} ${values[name]}: a number is needed`);
    }
  }
  const images = values.image.map((given) => {
    const [, role, path] = /^([^=]*)=(.+)$/.exec(given) ?? [];
    if (!ROLES.includes(role)) {
      throw new Usage(`--image ${given}: write ROLE=PATH, where ROLE is ${ROLES.join(", ")}`);
    }
    return { role, path: resolve(path) };
  });
  for (const { path } of images) {
    await access(path, constants.R_OK).catch(() => {
      throw new Usage(`--image: ${path} cannot be read`);
    });
  }
  return { ...values, images, timeout: 1000 * Number(values.timeout) };
}

const log = (text) => process.stderr.write(`${text}\n`);

/** Adds the images in order and sets their roles. */
async function chooseImages(page, images) {
  if (images.length === 0) {
    return;
  }
  await page.setInputFiles("#file", images.map(({ path }) => path));
  const settled = `#slots[data-count="${images.length}"], #image-note:not([hidden])`;
  await page.waitForSelector(settled, { state: "attached", timeout: 60_000 });
  const problem = await notice(page, "image-note");
  if (problem) {
    throw new Error(problem);
  }
  for (const [index, { role }] of images.entries()) {
    await page.locator("#slots .role").nth(index).selectOption(role);
  }
}

async function chooseTags(page, tags) {
  if (tags.length > 0) {
    await page.click("#context summary");
  }
  for (const tag of tags) {
    const button = page.locator("#tags button").and(page.locator(`[data-tag=${JSON.stringify(tag)}]`));
    if ((await button.count()) !== 1) {
      const known = await page.$$eval("#tags button", (all) => all.map(({ dataset }) => dataset.tag).filter(Boolean));
      throw new Error(`--context ${tag}: no such tag; use ${known.join(", ")}`);
    }
    await button.click();
  }
}

/** Presses Generate and prints the progress to stderr. */
async function generate(page, prompt, timeout) {
  await page.fill("#prompt", prompt);
  await page.click("#generate");
  let shown = "";
  const poll = setInterval(async () => {
    const text = await page.textContent("#step-text").catch(() => "");
    if (text && text !== shown) {
      log((shown = text));
    }
  }, 500);
  try {
    await reach(page, ["working"], 10_000).catch(() => {});
    const { state } = await reach(page, ["done", "error", "cancelled"], timeout);
    if (state !== "done") {
      throw new Error(await notice(page, "error"));
    }
  } finally {
    clearInterval(poll);
  }
}

/** Downloads every result with the page's own button: B.png, B-2.png, ... */
async function save(page, out) {
  const { dir, name, ext } = parse(resolve(out));
  const count = Number(await page.getAttribute("#result", "data-count"));
  const written = [];
  for (let index = 0; index < count; index += 1) {
    if (count > 1) {
      const before = await page.getAttribute("#download", "href");
      await page.locator("#result .choice").nth(index).click();
      if (index > 0) {
        await page.waitForSelector(`#download:not([href="${before}"])`, { timeout: 10_000 });
      }
    }
    const [download] = await Promise.all([page.waitForEvent("download", { timeout: 30_000 }), page.click("#download")]);
    const file = resolve(dir, index === 0 ? `${name}${ext}` : `${name}-${index + 1}${ext}`);
    await download.saveAs(file);
    written.push(file);
  }
  return written;
}

async function main() {
  const chosen = await options();
  const server = await serve(DIST);
  const browser = await launch();
  try {
    const page = await browser.newPage({ acceptDownloads: true });
    page.setDefaultTimeout(30_000);
    page.on("pageerror", (error) => log(`the page reports: ${error.message}`));
    const address = new URL(server.url);
    address.searchParams.set("device", chosen.device);
    if (chosen.pack) {
      address.searchParams.set("pack", chosen.pack);
    }
    log("loading the model");
    const start = performance.now();
    await load(page, address.href, chosen.timeout);
    const loading = performance.now() - start;
    const model = await page.$eval("#model", ({ dataset: { name, device, adapter, bytes } }) => ({ name, device, adapter, bytes: Number(bytes) }));
    log(`${model.name} runs on ${model.device}${model.adapter ? ` (${model.adapter})` : ""}`);
    await chooseImages(page, chosen.images);
    await chooseTags(page, chosen.context);
    for (const id of ["seed", "steps", "guidance", "image-guidance", "outputs"]) {
      if (chosen[id] !== undefined) {
        await set(page, id, chosen[id]);
      }
    }
    await generate(page, chosen.prompt, chosen.timeout);
    const { seed, steps, timings } = JSON.parse(await page.getAttribute("#timings", "data-json"));
    const outputs = await save(page, chosen.out);
    const report = {
      prompt: chosen.prompt,
      images: chosen.images,
      context: chosen.context.length > 0 ? chosen.context : null,
      seed,
      steps,
      model,
      browser: browser.version(),
      milliseconds: { load: loading, ...timings },
      outputs,
    };
    const json = chosen.json ?? chosen.out.replace(/\.png$/i, ".json");
    await writeFile(json, `${JSON.stringify(report, null, 2)}\n`);
    log(`wrote ${[...outputs, json].join(", ")}`);
  } finally {
    await browser.close();
    await server.close();
  }
}

try {
  await main();
} catch (error) {
  log(`demo: ${error.message}`);
  process.exitCode = error instanceof Usage ? 2 : 1;
}
