/** Pictures in and out: whatever the page has becomes RGBA, and the engine's RGBA becomes ImageBitmaps. */
import { UniRealError, refuse } from "./error.js";

/** Longest side of a picture that goes to the engine: more than any model's input, and 16 MiB of RGBA at most. */
export const MAX_SIDE = 2048;

/** Decode to the stored values: no colour management, no premultiplication, but upright. */
const DECODE = Object.freeze({
  colorSpaceConversion: "none",
  premultiplyAlpha: "none",
  imageOrientation: "from-image",
});

/** The promise, or the signal's reason as soon as it aborts. */
export function orAbort(promise, signal) {
  if (!signal) {
    return promise;
  }
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) {
      abort();
    }
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** The sides of a picture, scaled down where the longer one is more than `most`. @param {{ width: number, height: number }} of */
export function within({ width, height }, most) {
  const scale = Math.min(1, most / Math.max(width, height));
  const side = (length) => Math.max(1, Math.round(length * scale));
  return { width: side(width), height: side(height) };
}

/** Reads a picture's RGBA from anything that a canvas can draw, no side longer than MAX_SIDE. */
function draw(source, name) {
  const { width, height } = within(source, MAX_SIDE);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) {
    throw new UniRealError("memory", `no memory to decode ${name} at ${width} x ${height}`);
  }
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
 * Decodes one input picture to RGBA, in a buffer that may be transferred away.
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
    throw refuse(`${name} is ${image === null ? "null" : typeof image}; give a Blob, URL, ImageBitmap, ImageData, <img> or canvas`);
  }
  let bitmap = null;
  try {
    if (image instanceof ImageBitmap) {
      return draw(image, name);
    }
    bitmap = await orAbort(createImageBitmap(image, DECODE), signal);
    return draw(bitmap, name);
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof UniRealError) {
      throw cause;
    }
    throw refuse(cause.name === "SecurityError"
      ? `${name} comes from another site, which does not let this page read it`
      : `${name} is not a picture that this browser can read`, { cause });
  } finally {
    bitmap?.close();
  }
}

/**
 * The engine's pixels as an ImageBitmap that holds exactly them.
 * @param {{ width: number, height: number, data: Uint8Array }} picture
 */
export async function bitmap({ width, height, data }) {
  const pixels = new Uint8ClampedArray(data.buffer, data.byteOffset, data.length);
  const { colorSpaceConversion, premultiplyAlpha } = DECODE;
  try {
    return await createImageBitmap(new ImageData(pixels, width, height), { colorSpaceConversion, premultiplyAlpha });
  } catch (cause) {
    throw new UniRealError("memory", `no memory for a picture of ${width} x ${height}`, { cause });
  }
}
