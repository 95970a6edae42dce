/** PNG files: from a canvas, from any image source, and of two images side by side. */
import { UniRealError } from "../error.js";
import { createContext } from "../images.js";

/**
 * Returns a canvas as a PNG, or null if the browser cannot encode it.
 * @param {HTMLCanvasElement | OffscreenCanvas} canvas
 * @returns {Promise<Blob | null>}
 */
async function encode(canvas) {
  const options = { type: "image/png" };
  if (canvas instanceof HTMLCanvasElement) {
    return new Promise((resolve) => canvas.toBlob(resolve, options.type));
  }
  try {
    return await canvas.convertToBlob(options);
  } catch (error) {
    if (error.name === "EncodingError") {
      return null;
    }
    throw error;
  }
}

/** @param {HTMLCanvasElement | OffscreenCanvas} canvas @param {string} name @returns {Promise<File>} */
export async function pngOf(canvas, name) {
  const blob = await encode(canvas);
  if (!blob) {
    throw new UniRealError("memory", `no memory to encode ${name} of ${canvas.width} x ${canvas.height}`);
  }
  return new File([blob], name, { type: "image/png" });
}

/**
 * Converts any image source to a Blob.
 * @param {import("../unireal.d.ts").ImageSource} source
 * @returns {Promise<Blob>}
 */
export async function blobOf(source) {
  if (source instanceof Blob) {
    return source;
  }
  if (typeof source === "string" || source instanceof URL) {
    const response = await fetch(source);
    if (!response.ok) {
      throw new Error(`${source}: ${response.status}`);
    }
    return response.blob();
  }
  const bitmap = await createImageBitmap(source);
  const context = createContext(bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return pngOf(context.canvas, "image.png");
}

/** The gap between two images as a fraction of their height, and the maximum height of each in pixels. */
const GAP = 1 / 32;
const MAX_HEIGHT = 1024;

/**
 * Creates a PNG of both images at the height of the larger one, at most MAX_HEIGHT pixels.
 * @param {Blob} before
 * @param {Blob} after
 * @param {string} name
 */
export async function sideBySide(before, after, name) {
  const both = await Promise.all([before, after].map((blob) => createImageBitmap(blob)));
  const height = Math.min(MAX_HEIGHT, Math.max(...both.map((bitmap) => bitmap.height)));
  const widths = both.map((bitmap) => Math.max(1, Math.round((bitmap.width * height) / bitmap.height)));
  const gap = Math.max(2, Math.round(height * GAP));
  const context = createContext(widths[0] + gap + widths[1], height);
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white";
  context.fillRect(0, 0, context.canvas.width, height);
  context.drawImage(both[0], 0, 0, widths[0], height);
  context.drawImage(both[1], widths[0] + gap, 0, widths[1], height);
  both.forEach((bitmap) => bitmap.close());
  return pngOf(context.canvas, name);
}

/** Saves a file as a browser download. @param {File} file */
export function save(file) {
  const url = URL.createObjectURL(file);
  Object.assign(document.createElement("a"), { href: url, download: file.name }).click();
  // A download that has begun no longer needs the URL.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
