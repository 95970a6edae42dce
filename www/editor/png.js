/** Pictures as PNG files: of a canvas, of whatever a page has, and two side by side. */

/** @param {HTMLCanvasElement | OffscreenCanvas} canvas @param {string} name @returns {Promise<File>} */
export async function pngOf(canvas, name) {
  const blob = canvas instanceof OffscreenCanvas
    ? await canvas.convertToBlob({ type: "image/png" })
    : await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) {
    throw new Error(`no memory to save ${name}`);
  }
  return new File([blob], name, { type: "image/png" });
}

/**
 * A picture in a form that can be kept and read again.
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
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return pngOf(canvas, "picture.png");
}

/** Room between two pictures, as a part of their height, and the most that each may be high. */
const GAP = 1 / 32;
const MOST = 1024;

/**
 * One PNG with both pictures, as high as the higher one.
 * @param {Blob} before
 * @param {Blob} after
 * @param {string} name
 */
export async function sideBySide(before, after, name) {
  const both = await Promise.all([before, after].map((blob) => createImageBitmap(blob)));
  const height = Math.min(MOST, Math.max(...both.map((bitmap) => bitmap.height)));
  const widths = both.map((bitmap) => Math.max(1, Math.round((bitmap.width * height) / bitmap.height)));
  const gap = Math.max(2, Math.round(height * GAP));
  const canvas = new OffscreenCanvas(widths[0] + gap + widths[1], height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, height);
  context.drawImage(both[0], 0, 0, widths[0], height);
  context.drawImage(both[1], widths[0] + gap, 0, widths[1], height);
  both.forEach((bitmap) => bitmap.close());
  return pngOf(canvas, name);
}

/** Hands a file to the browser as a download. @param {File} file */
export function save(file) {
  const url = URL.createObjectURL(file);
  Object.assign(document.createElement("a"), { href: url, download: file.name }).click();
  // The download has its own hold on the file once it began.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
