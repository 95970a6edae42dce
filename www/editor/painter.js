/** Paints a mask over an image, with mouse, finger or pen, or as a rectangle with the arrow keys. */
import { MAX_SIDE, within } from "../pictures.js";
import { pngOf } from "./png.js";
import { drawStrokes, inside, maskOf } from "./strokes.js";
import { SAY } from "./words.js";

/** Distance that an arrow key moves the rectangle, as a fraction of the image. */
const STEP = 1 / 32;

/** The border of an extended image: its width on each side as a fraction of the image, and the grey that marks a hole for models. */
const BORDER = 1 / 4;
const HOLE = "rgb(128 128 128)";

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/**
 * @param {import("./view.js").View} view
 * @param {{ onDone: (mask: File, picture: Blob) => void }} options the callback for the mask and its image
 */
export function painter({ get, host }, { onDone }) {
  const [dialog, canvas, picture] = ["painter", "painter-canvas", "painter-picture"].map(get);
  /**
   * The undo history: image and strokes from the first state to the current one.
   * @type {{ image: Blob, strokes: import("./strokes.js").Stroke[] }[]}
   */
  let states = [];
  /** The rectangle of the arrow keys, which Enter or Space paints. @type {import("./strokes.js").Stroke | null} */
  let rectangle = null;

  const now = () => states.at(-1);

  /** Serialises changes, because images are decoded and encoded asynchronously. */
  let changes = Promise.resolve();
  const inTurn = (change) => (changes = changes.then(change).catch((error) => {
    console.warn("UniReal: the painter:", error);
    say(SAY.noMemory);
  }));

  function draw() {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    drawStrokes(context, now().strokes, "#ff2d78");
    if (rectangle) {
      const { x, y, width, height } = rectangle;
      const line = Math.max(2, canvas.width / 160);
      for (const [color, dash] of [["black", []], ["white", [3 * line, 3 * line]]]) {
        Object.assign(context, { lineWidth: line, strokeStyle: color });
        context.setLineDash(dash);
        context.strokeRect(x * canvas.width, y * canvas.height, width * canvas.width, height * canvas.height);
      }
      context.setLineDash([]);
    }
    get("painter-undo").disabled = states.length === 1;
    for (const id of ["painter-clear", "painter-done"]) {
      get(id).disabled = now().strokes.length === 0;
    }
  }

  function say(text) {
    get("painter-status").textContent = text;
  }

  function enter(state) {
    states.push(state);
    draw();
    say(SAY.painted(state.strokes.length));
  }

  const add = (stroke) => enter({ image: now().image, strokes: [...now().strokes, stroke] });

  /** Shows the current image. */
  async function show() {
    const bitmap = await createImageBitmap(now().image);
    // The engine limits sides to MAX_SIDE; a larger mask would only use memory.
    const size = within(bitmap, MAX_SIDE);
    Object.assign(canvas, size);
    Object.assign(picture, size);
    picture.getContext("2d").drawImage(bitmap, 0, 0, size.width, size.height);
    bitmap.close();
    get("painter-stage").style.setProperty("--shape", String(size.width / size.height));
    draw();
  }

  /** Extends the image by a grey border and paints the border, so that the model continues the image (outpainting). */
  async function extend() {
    const [right, down] = [picture.width, picture.height].map((side) => Math.round(side * BORDER));
    const larger = new OffscreenCanvas(picture.width + 2 * right, picture.height + 2 * down);
    const context = larger.getContext("2d");
    context.fillStyle = HOLE;
    context.fillRect(0, 0, larger.width, larger.height);
    context.drawImage(picture, right, down);
    const [x, y] = [right / larger.width, down / larger.height];
    const border = [[0, 0, 1, y], [0, 1 - y, 1, y], [0, 0, x, 1], [1 - x, 0, x, 1]];
    const strokes = now().strokes.map((stroke) => inside(stroke, x, y));
    strokes.push(...border.map(([left, top, width, height]) => ({ x: left, y: top, width, height })));
    rectangle = null;
    enter({ image: await pngOf(larger, "extended.png"), strokes });
    await show();
    say(SAY.extended);
  }

  const at = ({ clientX, clientY }) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return [(clientX - left) / width, (clientY - top) / height];
  };

  let drawing = null;
  /** Id of the pointer that draws; other pointers are ignored. @type {number | null} */
  let pointer = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || drawing) {
      return;
    }
    canvas.setPointerCapture(event.pointerId);
    rectangle = null;
    drawing = { size: get("painter-size").value / 100, points: [at(event)] };
    pointer = event.pointerId;
    add(drawing);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drawing && event.pointerId === pointer) {
      // A fast movement has several points per event.
      const events = event.getCoalescedEvents?.() ?? [];
      drawing.points.push(...(events.length > 0 ? events : [event]).map(at));
      draw();
    }
  });
  for (const type of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(type, (event) => {
      if (event.pointerId === pointer) {
        drawing = null;
      }
    });
  }

  const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
  canvas.addEventListener("keydown", (event) => {
    if (event.key in ARROWS) {
      event.preventDefault();
      rectangle ??= { x: 0.375, y: 0.375, width: 0.25, height: 0.25 };
      const [right, down] = ARROWS[event.key];
      if (event.shiftKey) {
        rectangle.width = clamp(rectangle.width + right, STEP, 1 - rectangle.x);
        rectangle.height = clamp(rectangle.height + down, STEP, 1 - rectangle.y);
      } else {
        rectangle.x = clamp(rectangle.x + right, 0, 1 - rectangle.width);
        rectangle.y = clamp(rectangle.y + down, 0, 1 - rectangle.height);
      }
      draw();
      const percent = ([name, part]) => [name, Math.round(100 * part)];
      say(SAY.rectangle(Object.fromEntries(Object.entries(rectangle).map(percent))));
    } else if ((event.key === "Enter" || event.key === " ") && rectangle) {
      event.preventDefault();
      add({ ...rectangle });
    }
  });

  async function undo() {
    if (states.length > 1) {
      const { image } = states.pop();
      await (image === now().image ? draw() : show());
    }
    say(SAY.painted(now().strokes.length));
    if (get("painter-undo").disabled) {
      canvas.focus();
    }
  }

  get("painter-extend").addEventListener("click", () => inTurn(extend));
  get("painter-undo").addEventListener("click", () => inTurn(undo));
  get("painter-clear").addEventListener("click", () => inTurn(() => {
    enter({ image: now().image, strokes: [] });
    canvas.focus();
  }));
  dialog.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      inTurn(undo);
    }
    // Do not pass the painter's keys on to the editor.
    event.stopPropagation();
  });
  get("painter-close").addEventListener("click", () => dialog.close());
  get("painter-done").addEventListener("click", () => inTurn(async () => {
    const { image, strokes } = now();
    const mask = await pngOf(maskOf(strokes, canvas.width, canvas.height), "mask.png");
    dialog.close();
    onDone(mask, image);
  }));

  return {
    /** Opens over an image. Strokes on the same image are kept. @param {Blob} image */
    open: (image) => inTurn(async () => {
      if (now()?.image !== image) {
        states = [{ image, strokes: [] }];
      }
      rectangle = null;
      await show();
      if (host.isConnected && !dialog.open) {
        dialog.showModal();
      }
      say(SAY.painted(now().strokes.length));
      canvas.focus();
    }),
  };
}
