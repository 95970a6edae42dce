/**
 * Fuzzes the engine with random requests, without the checks of the module. Each must be refused with a typed error or
 * return images, and none may end the engine. `REQUESTS=5000` is a long run; `SEED=N` repeats a run with its printed
 * seed.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { DIST, launch } from "./browser.mjs";
import { BLANK } from "./request.mjs";
import { serve } from "./server.mjs";

const REQUESTS = Number(process.env.REQUESTS ?? 400);
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32));

let server, browser;

before(async () => {
  server = await serve(DIST, 0, { files: new Map([["/blank.html", BLANK]]) });
  browser = await launch({ webgpu: false });
});

after(async () => {
  await browser?.close();
  await server?.close();
});

/** Runs in the page. @returns the number of requests for each outcome, and the forbidden outcomes */
async function ask({ count, seed, model }) {
  const { default: init, Engine } = await import("/www/wasm/unireal.js");
  await init();
  const engine = await Engine.open(model, { device: "cpu", cache: "none" }, undefined, undefined);
  let state = seed;
  /** The mulberry32 generator. */
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const pick = (all) => all[Math.floor(random() * all.length)];
  const thrower = () => new Proxy({}, { get() {
    throw new Error("a getter that throws");
  } });
  const hostile = () => pick([
    undefined, null, true, NaN, Infinity, -1, -0, 0.5, 1, 2, 3, 11, 64, 1e4, 2 ** 31, 2 ** 32, 2 ** 53, 1e308, "", "1", "canvas", "cpu",
    "\u0000", "\ud800", "IMG1 RES2 IMG99999999999999999999", "\uff29\uff2d\uff27\uff13", "\u{1f98a}".repeat(200), "a ".repeat(3000), 7n, Symbol("s"),
    () => 1, [], [[]], [null], {}, new Date(), /x/, new Uint8Array(16), new Uint8ClampedArray(4), new Float32Array(4), new ArrayBuffer(16),
    thrower(), new Proxy([], {}), { length: 5 }, Object.create(null), new Map(),
  ]);
  const rarely = (good, part = 0.15) => (random() < part ? hostile() : good());
  const tags = ["realistic style", "synthetic style", "static scenario", "dynamic scenario", "with reference object", "novel scenario", "perception task"];
  const image = () => {
    const [width, height] = [pick([1, 2, 16, 64]), pick([1, 3, 16, 64])];
    const data = new (pick([Uint8Array, Uint8ClampedArray]))(4 * width * height);
    data.fill(Math.floor(256 * random()));
    return { width: rarely(() => width, 0.05), height: rarely(() => height, 0.05), data: rarely(() => data, 0.05), role: rarely(() => pick(["canvas", "asset", "control"]), 0.05) };
  };
  const some = (most, make) => Array.from({ length: Math.floor(random() * (most + 1)) }, make);
  const fields = {
    prompt: () => pick(["remove the red cube", "put IMG1 into IMG2", "RES1 and RES2", "\u00e9\u4e16\u754c", " ", "IMG", "<pad></s><unk>"]),
    images: () => some(pick([0, 1, 2, 12]), () => rarely(image, 0.05)),
    context: () => some(3, () => rarely(() => pick(tags))),
    width: () => pick([16, 32, 64, 72]),
    height: () => pick([16, 32, 64, 72]),
    outputs: () => pick([1, 1, 2]),
    steps: () => 1,
    method: () => pick(["euler", "heun"]),
    guidance: () => 4 * random(),
    imageGuidance: () => 4 * random(),
    composite: () => random() < 0.5,
    seed: () => Math.floor(2 ** 53 * random()),
    previewEvery: () => pick([0, 1]),
  };
  const outcomes = {};
  const wrong = [];
  for (let i = 0; i < count; i += 1) {
    const isObject = random() > 0.03;
    const request = isObject ? {} : hostile();
    if (isObject) {
      for (const [name, good] of Object.entries(fields)) {
        if (name === "prompt" || random() < 0.5) {
          request[name] = rarely(good, 0.04);
        }
      }
      // Limits valid requests that would run too long.
      for (const [name, most] of [["steps", 2], ["outputs", 2], ["width", 128], ["height", 128]]) {
        if (typeof request[name] === "number" && request[name] > most && request[name] <= 1000) {
          request[name] = most;
        }
      }
    }
    const result = await engine.generate(request, undefined, undefined).then(({ images }) => {
      const whole = images.every(({ width, height, data }) => data.length === 4 * width * height);
      return whole && images.length > 0 ? "pictures" : "no whole pictures";
    }, (error) => error?.code ?? `${error?.name}: ${error?.message}`);
    outcomes[result] = (outcomes[result] ?? 0) + 1;
    if (!["pictures", "request"].includes(result)) {
      wrong.push(`request ${i}: ${result}`);
      if (/RuntimeError|unreachable/.test(result)) {
        break;
      }
    }
  }
  return { outcomes, wrong };
}

test(`${REQUESTS} random requests: pictures or a typed refusal`, { timeout: 60_000 + REQUESTS * 1000 }, async (t) => {
  const page = await browser.newPage();
  page.on("console", (message) => message.type() === "error" && t.diagnostic(message.text().slice(0, 300)));
  await page.goto(`${server.url}blank.html`);
  const { outcomes, wrong } = await page.evaluate(ask, { count: REQUESTS, seed: SEED, model: `${server.url}www/models/tabletop/` });
  t.diagnostic(`seed ${SEED}: ${JSON.stringify(outcomes)}`);
  assert.deepEqual(wrong, [], `seed ${SEED}`);
  assert.ok(outcomes.pictures > REQUESTS / 10 && outcomes.request > REQUESTS / 10, `seed ${SEED}: ${JSON.stringify(outcomes)}`);
  await page.close();
});
