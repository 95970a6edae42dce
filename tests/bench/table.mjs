/** Reads what `scripts/bench` measured, prints it as a table with the bars, and ends with 1 where one is missed. */
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
  "training, a sample | torch": 0.6,
};

const rows = [];
for await (const line of createInterface({ input: process.stdin })) {
  const json = /\{"what".*\}/.exec(line)?.[0];
  if (json) {
    rows.push(JSON.parse(json));
  }
}
console.log("| what | against | ours, ms | theirs, ms | times as fast | at least |\n|---|---|---|---|---|---|");
let missed = rows.length === 0 ? 1 : 0;
for (const { what, against, ours_ms: ours, theirs_ms: theirs, ratio } of rows) {
  const bar = BARS[`${what} | ${against}`];
  const fails = bar !== undefined && ratio < bar;
  missed += fails;
  console.log(`| ${what} | ${against} | ${ours.toFixed(1)} | ${theirs.toFixed(1)} | ${ratio.toFixed(2)} | ${bar ?? ""}${fails ? " (missed)" : ""} |`);
}
process.exitCode = missed > 0 ? 1 : 0;
