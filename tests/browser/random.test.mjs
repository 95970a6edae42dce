/**
 * Fuzzes the engine with random requests, without the module. Each must be refused with a typed error or return images,
 * and none may end the engine. `REQUESTS=5000` is a long run; `SEED=N` repeats a run with its printed seed.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { DIST, launch } from "./browser.mjs";
import { printedSeed } from "./random.mjs";
import { BLANK } from "./request.mjs";
import { serve } from "./server.mjs";

const REQUESTS = Number(process.env.REQUESTS ?? 400);

let server, browser;

before(async () => {
  const modules = ["random.mjs", "random-requests.mjs"].map(async (name) => [`/${name}`, await readFile(new URL(name, import.meta.url))]);
  server = await serve(DIST, 0, { files: new Map([["/blank.html", BLANK], ...(await Promise.all(modules))]) });
  browser = await launch({ webgpu: false });
});

after(async () => {
  await browser?.close();
  await server?.close();
});

/** Runs in the page. @returns the number of requests for each outcome, and the forbidden outcomes */
async function runRequests({ count, seed, model }) {
  const { default: init, Engine } = await import("/www/wasm/unireal.js");
  const { randomRequests } = await import("/random-requests.mjs");
  await init();
  const engine = await Engine.open(model, { device: "cpu", cache: "none" }, undefined, undefined);
  const next = randomRequests(seed);
  const outcomes = {};
  const wrong = [];
  const outcomeOf = ({ images }) => {
    const isComplete = images.every(({ width, height, data }) => data.length === 4 * width * height);
    return isComplete && images.length > 0 ? "images" : "incomplete images";
  };
  for (let i = 0; i < count; i += 1) {
    const result = await engine.generate(next(), undefined, undefined)
      .then(outcomeOf, (error) => error?.code ?? `${error?.name}: ${error?.message}`);
    outcomes[result] = (outcomes[result] ?? 0) + 1;
    if (!["images", "request"].includes(result)) {
      wrong.push(`request ${i}: ${result}`);
      if (/RuntimeError|unreachable/.test(result)) {
        break;
      }
    }
  }
  return { outcomes, wrong };
}

test(`${REQUESTS} random requests: images or a typed refusal`, { timeout: 60_000 + REQUESTS * 1000 }, async (t) => {
  const seed = printedSeed(t);
  const page = await browser.newPage();
  page.on("console", (message) => message.type() === "error" && t.diagnostic(message.text().slice(0, 300)));
  await page.goto(`${server.url}blank.html`);
  const { outcomes, wrong } = await page.evaluate(runRequests, { count: REQUESTS, seed, model: `${server.url}www/models/tabletop/` });
  t.diagnostic(JSON.stringify(outcomes));
  assert.deepEqual(wrong, [], `seed ${seed}`);
  assert.ok(outcomes.images > REQUESTS / 10 && outcomes.request > REQUESTS / 10, `seed ${seed}: ${JSON.stringify(outcomes)}`);
  await page.close();
});
