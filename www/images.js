/** Image conversion: from any image source of the page to RGBA, and from the engine's RGBA to ImageBitmaps. */
import { orAbort } from "./abort.js";
import { UniRealError, requestError } from "./error.js";

/** Longest side of an image for the engine in pixels: more than any model's input, and at most 16 MiB of RGBA. */
export const MAX_SIDE = 2048;

/** Decodes to the stored values: no colour management, no premultiplication, but upright. */
const DECODE = Object.freeze({
  colorSpaceConversion: "none",
  premultiplyAlpha: "none",
  imageOrientation: "from-image",
});

/** Returns the size of an image, scaled down so that no side exceeds `maxSide`. @param {{ width: number, height: number }} image */
export function fitWithin({ width, height }, maxSide) {
  const scale = Math.min(1, maxSide / Math.max(width, height));
  const side = (length) => Math.max(1, Math.round(length * scale));
  return { width: side(width), height: side(height) };
}

/** @param {{ width: number, height: number }} size @param {ErrorOptions} [options] */
const outOfMemory = ({ width, height }, options) =>
  new UniRealError("memory", `no memory for an image of ${width} x ${height}`, options);

/**
 * Creates an OffscreenCanvas and returns its 2D context.
 * @param {number} width
 * @param {number} height
 * @param {CanvasRenderingContext2DSettings} [settings]
 * @throws {UniRealError} `memory` if the browser has no memory for it
 */
export function createContext(width, height, settings) {
  const context = new OffscreenCanvas(width, height).getContext("2d", settings);
  if (!context) {
    throw outOfMemory({ width, height });
  }
  return context;
}

/**
 * Returns the 2D context of a canvas.
 * @param {HTMLCanvasElement} canvas
 * @throws {UniRealError} `memory` if the browser has no memory for it
 */
export function contextOf(canvas) {
  const context = canvas.getContext("2d");
  if (!context) {
    throw outOfMemory(canvas);
  }
  return context;
}

/** Reads the RGBA of anything that a canvas can draw, scaled so that no side exceeds MAX_SIDE. */
function readPixels(source) {
  const { width, height } = fitWithin(source, MAX_SIDE);
  const context = createContext(width, height, { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  return { width, height, data: new Uint8Array(data.buffer) };
}

async function fetchBlob(url, name, signal) {
  let response;
  try {
    response = await fetch(url, { signal });
  } catch (cause) {
    signal?.throwIfAborted();
    throw new UniRealError("network", `${name} could not be fetched from ${url}: ${cause.message}`, { cause });
  }
  if (!response.ok) {
    throw new UniRealError("network", `${name}: ${url} answered ${response.status} ${response.statusText}`.trim());
  }
  try {
    return await response.blob();
  } catch (cause) {
    signal?.throwIfAborted();
    throw new UniRealError("network", `${name}: the connection to ${url} was cut`, { cause });
  }
}

/**
 * Decodes an input image to RGBA in a transferable buffer.
 * @param {import("./unireal.d.ts").ImageSource} image
 * @param {string} name IMGk, for messages
 * @param {AbortSignal} [signal]
 * @returns {Promise<{ width: number, height: number, data: Uint8Array }>}
 */
export async function decode(image, name, signal) {
  if (typeof image === "string" || image instanceof URL) {
    image = await fetchBlob(image, name, signal);
  }
  if (image instanceof ImageData && image.data instanceof Uint8ClampedArray
      && Math.max(image.width, image.height) <= MAX_SIDE) {
    return { width: image.width, height: image.height, data: new Uint8Array(image.data) };
  }
  const kinds = [Blob, ImageBitmap, ImageData, OffscreenCanvas, globalThis.HTMLImageElement, globalThis.HTMLCanvasElement];
  if (!kinds.some((kind) => kind && image instanceof kind)) {
    const found = image === null ? "null" : typeof image;
    throw requestError(`${name}'s image is ${found}, expected a Blob, URL, ImageBitmap, ImageData, <img> or canvas`);
  }
  let bitmap = null;
  try {
    if (image instanceof ImageBitmap) {
      return readPixels(image);
    }
    bitmap = await orAbort(createImageBitmap(image, DECODE), signal);
    return readPixels(bitmap);
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof UniRealError) {
      throw cause;
    }
    throw requestError(cause.name === "SecurityError"
      ? `${name} comes from another site, which does not let this page read it`
      : `${name} is not an image that this browser can read`, { cause });
  } finally {
    bitmap?.close();
  }
}

/**
 * Creates an ImageBitmap with exactly the engine's pixels.
 * @param {{ width: number, height: number, data: Uint8Array<ArrayBuffer> }} image
 */
export async function toBitmap({ width, height, data }) {
  const pixels = new Uint8ClampedArray(data.buffer, data.byteOffset, data.length);
  const { colorSpaceConversion, premultiplyAlpha } = DECODE;
  try {
    return await createImageBitmap(new ImageData(pixels, width, height), { colorSpaceConversion, premultiplyAlpha });
  } catch (cause) {
    throw outOfMemory({ width, height }, { cause });
  }
}
