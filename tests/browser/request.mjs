/** A request whose image must be the same by the native command and by a page. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { DIST, NATIVE } from "./browser.mjs";

/** The seed of a held-out scene, which training never uses. */
const SCENE = 2 ** 40 + 8;
const REQUEST = { steps: 4, guidance: 2, seed: 11 };
/** Maximum mean absolute difference per channel, of 255. */
export const MAX_DIFFERENCE = 1;

/** A blank page that may import the module. */
export const BLANK = Buffer.from("<!doctype html><title>blank</title>");

const native = (...args) => promisify(execFile)(NATIVE, args.map(String));

/** Runs the native command in a folder. @returns the prompt, the input PNG and the output PNG */
export async function byCommand(folder) {
  await native("world", "--out", folder, "--seed", SCENE, "--count", 1, "--size", 64, "--frames", 1);
  const clip = join(folder, String(SCENE));
  const { edits } = JSON.parse(await readFile(join(clip, "truth.json"), "utf8"));
  const { instruction: prompt } = edits.find(({ instruction }) => instruction);
  const image = join(clip, "edit-before.png");
  const out = join(folder, "native.png");
  const { steps, guidance, seed } = REQUEST;
  await native("generate", "--pack", join(DIST, "www/models/tabletop"), "--image", `canvas=${image}`, "--prompt", prompt,
    "--steps", steps, "--guidance", guidance, "--seed", seed, "--device", "cpu", "--out", out);
  return { prompt, input: await readFile(image), output: await readFile(out) };
}

/**
 * Runs the request by the module in a page and returns the stored pixel values. No previews, because each needs one
 * more decoding.
 * @param {{ evaluate: (act: Function, value: unknown) => Promise<any> }} page that may import the module
 * @param {string} device
 * @param {Awaited<ReturnType<typeof byCommand>>} request
 */
export async function byModule(page, device, { prompt, input }) {
  const { info, timings, image } = await page.evaluate(async ({ device, input, request }) => {
    const { UniReal } = await import("/www/unireal.js");
    const model = await UniReal.load("/www/models/tabletop/", { device });
    const images = [{ image: new Blob([new Uint8Array(input)]), role: "canvas" }];
    const { images: [output], timings } = await model.generate({ ...request, images });
    const { width, height } = output;
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(output, 0, 0);
    const { info } = model;
    await model.dispose();
    return { info, timings, image: { width, height, data: [...context.getImageData(0, 0, width, height).data] } };
  }, { device, input: [...input], request: { ...REQUEST, prompt } });
  if (info.device !== device) {
    throw new Error(`asked for ${device}, it ran on ${info.device}: ${info.note}`);
  }
  console.log(`${device} (${info.adapter}): ${Object.entries(timings).map(([name, time]) => `${name} ${Math.round(time)}`).join(", ")} ms`);
  return image;
}

/** Decodes a PNG to its stored values with the module's decoder. */
export const pixels = (page, png) => page.evaluate(async (bytes) => {
  const { decode } = await import("/www/images.js");
  const { width, height, data } = await decode(new Blob([new Uint8Array(bytes)]), "the image");
  return { width, height, data: [...data] };
}, [...png]);

/** Returns the mean absolute difference per channel of two images, of 255. */
export function difference(one, other) {
  if (one.width !== other.width || one.height !== other.height) {
    throw new Error(`${one.width}x${one.height} and ${other.width}x${other.height} pixels`);
  }
  const sum = one.data.reduce((sum, value, i) => sum + (i % 4 < 3 ? Math.abs(value - other.data[i]) : 0), 0);
  return sum / (3 * one.width * one.height);
}
