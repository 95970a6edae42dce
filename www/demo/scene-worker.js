/**
 * Renders a new scene and the ground truth of its instructions with the tabletop path tracer
 * (crates/tabletop/src/page.rs), in a separate worker. Errors reach the page as the worker's error event.
 *
 *   in:  { number, side }
 *   out: { image: File, instructions: string[] }, then a { groundTruth: File } for each instruction in turn
 */
import { createContext } from "../images.js";
import init, { Tabletop } from "../wasm/tabletop.js";

async function pngFile(pixels, side, name) {
  const context = createContext(side, side);
  context.putImageData(new ImageData(new Uint8ClampedArray(pixels), side, side), 0, 0);
  return new File([await context.canvas.convertToBlob({ type: "image/png" })], name, { type: "image/png" });
}

self.addEventListener("message", async ({ data: { number, side } }) => {
  try {
    await init();
    const scene = new Tabletop(number, side);
    const instructions = scene.instructions();
    self.postMessage({ image: await pngFile(scene.before(), side, `scene-${number}.png`), instructions });
    for (const index of instructions.keys()) {
      self.postMessage({ groundTruth: await pngFile(scene.after(index), side, `scene-${number}-ground-truth-${index + 1}.png`) });
    }
  } catch (error) {
    // A worker gets no error event for an unhandled rejection, so report the error.
    reportError(error);
  }
});
