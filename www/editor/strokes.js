/** A mask as what was painted, one thing after another: so it can be undone, and drawn in any colour at any size. */

/**
 * In parts of the picture's width and height; a brush's size in parts of its longer side.
 * @typedef {{ size: number, points: [number, number][] } | { x: number, y: number, width: number, height: number }} Stroke
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
      // A press alone is a dot: a line of no length has round ends too.
      (others.length > 0 ? others : [[x, y]]).forEach(([toX, toY]) => context.lineTo(toX * width, toY * height));
      context.stroke();
    } else {
      context.fillRect(stroke.x * width, stroke.y * height, stroke.width * width, stroke.height * height);
    }
  }
}

/** The mask itself: white where something was painted, black elsewhere. @param {readonly Stroke[]} strokes */
export function maskOf(strokes, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.fillStyle = "black";
  context.fillRect(0, 0, width, height);
  drawStrokes(context, strokes, "white");
  // The edge of a brush is soft, a mask says yes or no.
  const pixels = context.getImageData(0, 0, width, height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    pixels.data.fill(pixels.data[at] < 128 ? 0 : 255, at, at + 3);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/**
 * A stroke on a picture that has got a border of such parts of its new width and height.
 * @param {Stroke} stroke
 * @param {number} right
 * @param {number} down
 * @returns {Stroke}
 */
export function inside(stroke, right, down) {
  const [across, along] = [1 - 2 * right, 1 - 2 * down];
  if ("points" in stroke) {
    return { size: stroke.size * Math.max(across, along), points: stroke.points.map(([x, y]) => [right + x * across, down + y * along]) };
  }
  const { x, y, width, height } = stroke;
  return { x: right + x * across, y: down + y * along, width: width * across, height: height * along };
}
