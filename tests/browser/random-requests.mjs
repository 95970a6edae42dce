/** Random requests for the engine, valid and invalid ones. A page imports this module. */
import { mulberry32 } from "./random.mjs";

const TAGS = [
  "realistic style", "synthetic style", "static scenario", "dynamic scenario", "with reference object", "novel scenario", "perception task",
];
const PROMPTS = ["remove the red cube", "put IMG1 into IMG2", "RES1 and RES2", "\u00e9\u4e16\u754c", " ", "IMG", "<pad></s><unk>"];

/** Limits of valid requests, which would otherwise run too long. */
const LIMITS = { steps: 2, outputs: 2, width: 128, height: 128 };

const throwing = () => new Proxy({}, { get() {
  throw new Error("a getter that throws");
} });

/** Returns values that no field of a request expects. */
const invalidValues = () => [
  undefined, null, true, NaN, Infinity, -1, -0, 0.5, 1, 2, 3, 11, 64, 1e4, 2 ** 31, 2 ** 32, 2 ** 53, 1e308, "", "1", "canvas", "cpu",
  "\u0000", "\ud800", "IMG1 RES2 IMG99999999999999999999", "\uff29\uff2d\uff27\uff13", "\u{1f98a}".repeat(200), "a ".repeat(3000), 7n, Symbol("s"),
  () => 1, [], [[]], [null], {}, new Date(), /x/, new Uint8Array(16), new Uint8ClampedArray(4), new Float32Array(4), new ArrayBuffer(16),
  throwing(), new Proxy([], {}), { length: 5 }, Object.create(null), new Map(),
];

/** Returns a generator of requests. @param {number} seed */
export function randomRequests(seed) {
  const random = mulberry32(seed);
  const pick = (values) => values[Math.floor(random() * values.length)];
  const invalid = () => pick(invalidValues());
  const mostly = (valid, share = 0.15) => (random() < share ? invalid() : valid());
  const list = (maxLength, item) => Array.from({ length: Math.floor(random() * (maxLength + 1)) }, item);
  const image = () => {
    const [width, height] = [pick([1, 2, 16, 64]), pick([1, 3, 16, 64])];
    const data = new (pick([Uint8Array, Uint8ClampedArray]))(4 * width * height);
    data.fill(Math.floor(256 * random()));
    const fields = { width: () => width, height: () => height, data: () => data, role: () => pick(["canvas", "asset", "control"]) };
    return Object.fromEntries(Object.entries(fields).map(([name, valid]) => [name, mostly(valid, 0.05)]));
  };
  const fields = {
    prompt: () => pick(PROMPTS),
    images: () => list(pick([0, 1, 2, 12]), () => mostly(image, 0.05)),
    context: () => list(3, () => mostly(() => pick(TAGS))),
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
  return () => {
    if (random() < 0.03) {
      return invalid();
    }
    const request = {};
    for (const [name, valid] of Object.entries(fields)) {
      if (name === "prompt" || random() < 0.5) {
        request[name] = mostly(valid, 0.04);
      }
    }
    for (const [name, limit] of Object.entries(LIMITS)) {
      if (typeof request[name] === "number" && request[name] > limit && request[name] <= 1000) {
        request[name] = limit;
      }
    }
    return request;
  };
}
