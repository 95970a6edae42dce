/**
 * Renders a new scene and the ground truth of its instructions with the tabletop path tracer
 * (crates/tabletop/src/page.rs), in a worker of its own. Errors reach the page as the worker's error event.
 *
 *   in:  { number, side }
 *   out: { picture: File, instructions: string[] }, then a { answer: File } for each instruction in turn
 */
import init, { Tabletop } from "../wasm/tabletop.js";

async function file(pixels, side, name) {
  const canvas = new OffscreenCanvas(side, side);
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels), side, side), 0, 0);
  return new File([await canvas.convertToBlob({ type: "image/png" })], name, { type: "image/png" });
}

self.addEventListener("message", async ({ data: { number, side } }) => {
  try {
    await init();
    const scene = new Tabletop(number, side);
    const instructions = scene.instructions();
    self.postMessage({ picture: await file(scene.before(), side, `scene-${number}.png`), instructions });
    for (const index of instructions.keys()) {
      self.postMessage({ answer: await file(scene.after(index), side, `scene-${number}-answer-${index + 1}.png`) });
    }
  } catch (error) {
    // A worker gets no error event for an unhandled rejection, so report the error.
    reportError(error);
  }
});
