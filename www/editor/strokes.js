/** A mask as a list of strokes, which can be undone and drawn in any colour at any size. */
import { createContext } from "../images.js";

/**
 * A stroke with coordinates as fractions of the image's width and height; a brush's size is a fraction of the longer side.
 * @typedef {[number, number]} Point
 * @typedef {{ size: number, points: Point[] }} BrushStroke
 * @typedef {{ x: number, y: number, width: number, height: number }} Rectangle
 * @typedef {BrushStroke | Rectangle} Stroke
 */

/**
 * @param {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} context
 * @param {readonly Stroke[]} strokes
 * @param {string} color
 */
export function drawStrokes(context, strokes, color) {
  const { width, height } = context.canvas;
  Object.assign(context, { fillStyle: color, strokeStyle: color, lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) {
    if ("points" in stroke) {
      context.lineWidth = Math.max(1, stroke.size * Math.max(width, height));
      context.beginPath();
      const [[x, y], ...others] = stroke.points;
      context.moveTo(x * width, y * height);
      // A single point is drawn as a dot, because a line of length 0 has round caps too.
      (others.length > 0 ? others : [[x, y]]).forEach(([toX, toY]) => context.lineTo(toX * width, toY * height));
      context.stroke();
    } else {
      context.fillRect(stroke.x * width, stroke.y * height, stroke.width * width, stroke.height * height);
    }
  }
}

/**
 * Returns the mask: white where a stroke is, black elsewhere.
 * @param {readonly Stroke[]} strokes
 * @param {number} width
 * @param {number} height
 */
export function maskOf(strokes, width, height) {
  const context = createContext(width, height);
  context.fillStyle = "black";
  context.fillRect(0, 0, width, height);
  drawStrokes(context, strokes, "white");
  // Thresholds the antialiased edges, since a mask is binary.
  const pixels = context.getImageData(0, 0, width, height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    pixels.data.fill(pixels.data[at] < 128 ? 0 : 255, at, at + 3);
  }
  context.putImageData(pixels, 0, 0);
  return context.canvas;
}

/**
 * Converts a stroke to the coordinates of an image that is extended by a border. `right` and `down` are the border's fractions of
 * the new width and height.
 * @param {Stroke} stroke
 * @param {number} right
 * @param {number} down
 * @returns {Stroke}
 */
export function insideBorder(stroke, right, down) {
  const [scaleX, scaleY] = [1 - 2 * right, 1 - 2 * down];
  if ("points" in stroke) {
    const points = stroke.points.map(([x, y]) => /** @type {Point} */ ([right + x * scaleX, down + y * scaleY]));
    return { size: stroke.size * Math.max(scaleX, scaleY), points };
  }
  const { x, y, width, height } = stroke;
  return { x: right + x * scaleX, y: down + y * scaleY, width: width * scaleX, height: height * scaleY };
}
