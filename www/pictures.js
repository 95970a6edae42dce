/** Image conversion: from any image source of the page to RGBA, and from the engine's RGBA to ImageBitmaps. */
import { UniRealError, refuse } from "./error.js";

/** Longest side of an image for the engine in pixels: more than any model's input, and at most 16 MiB of RGBA. */
export const MAX_SIDE = 2048;

/** Decodes to the stored values: no colour management, no premultiplication, but upright. */
const DECODE = Object.freeze({
  colorSpaceConversion: "none",
  premultiplyAlpha: "none",
  imageOrientation: "from-image",
});

/** Returns the promise's result, or rejects with the signal's reason as soon as it aborts. */
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

/** Returns the size of an image, scaled down so that no side exceeds `most`. @param {{ width: number, height: number }} of */
export function within({ width, height }, most) {
  const scale = Math.min(1, most / Math.max(width, height));
  const side = (length) => Math.max(1, Math.round(length * scale));
  return { width: side(width), height: side(height) };
}

/** Reads the RGBA of anything that a canvas can draw, scaled so that no side exceeds MAX_SIDE. */
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
 * Creates an ImageBitmap with exactly the engine's pixels.
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
