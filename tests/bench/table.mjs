/**
 * Reads what `scripts/bench` measured, prints it as tables with the bars, and ends with 1 where one is missed. A comparison says how
 * many times as fast ours is; a cost has its own unit and the most that it may be.
 */
import { createInterface } from "node:readline";

/** How many times as fast as what it is compared with each must be. */
const BARS = {
  "linear 1024x512x1536 | burn": 8,
  "linear 1024x512x1536 | the adapter's rate": 0.6,
  "q8 linear 1024x512x1536 | f32 linear": 0.9,
  "q4 linear 1024x512x1536 | f32 linear": 0.8,
  "attention 8x4096x64 | the linear layer per flop": 1,
  "block f32 | onnxruntime-web webgpu": 8,
  "step q8 | onnxruntime-web webgpu": 6,
  "block f32 | onnxruntime-web wasm": 1,
  "training 8 x 192, a sample | torch f32": 3,
  "training 8 x 192, a sample | torch bf16": 1,
  "training the preset, a sample | torch f32": 3,
  "training the preset, a sample | torch bf16": 1,
  "training the preset, two threads | one thread": 1.7,
  "generate, an edit of 20 steps | torch": 0.8,
  "features of clip-b32, a picture | torch": 1,
  "features of dino-s16, a picture | torch": 1,
};

/** Bars that hold only for CPUs with these instructions. */
const NEEDS = {
  "training 8 x 192, a sample | torch f32": "AMX tiles",
  "training 8 x 192, a sample | torch bf16": "AMX tiles",
  "training the preset, a sample | torch f32": "AMX tiles",
  "training the preset, a sample | torch bf16": "AMX tiles",
};

const comparisons = [];
const costs = [];
for await (const line of createInterface({ input: process.stdin })) {
  const json = /\{"(?:what|page)".*\}/.exec(line)?.[0];
  if (json) {
    const row = JSON.parse(json);
    ("page" in row ? costs : comparisons).push(row);
  }
}
let missed = comparisons.length + costs.length === 0 ? 1 : 0;
const mark = (fails) => {
  missed += fails;
  return fails ? " (missed)" : "";
};
if (comparisons.length > 0) {
  console.log("| what | against | ours, ms | theirs, ms | times as fast | at least |\n|---|---|---|---|---|---|");
}
for (const { what, against, ours_ms: ours, theirs_ms: theirs, ratio, instructions, cpu } of comparisons) {
  const row = `${what} | ${against.split(",")[0]}`;
  const needed = NEEDS[row];
  const applies = needed === undefined || needed === instructions;
  const bar = applies ? BARS[row] : undefined;
  const least = applies ? `${bar ?? ""}${mark(ratio < bar)}` : `not applicable: ${cpu} has no ${needed}`;
  console.log(`| ${what} | ${against} | ${ours.toFixed(1)} | ${theirs.toFixed(1)} | ${ratio.toFixed(2)} | ${least} |`);
}
if (costs.length > 0) {
  console.log("| what | measured | at most |\n|---|---|---|");
}
for (const { page, value, unit, most } of costs) {
  const limit = most === undefined ? "" : `${most} ${unit}`;
  console.log(`| ${page} | ${value.toFixed(2)} ${unit} | ${limit}${mark(value > most)} |`);
}
process.exitCode = missed > 0 ? 1 : 0;
