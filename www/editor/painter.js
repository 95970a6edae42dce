/** Paints a mask over an image, with mouse, finger or pen, or as a rectangle with the arrow keys. */
import { isOutOfMemory } from "../error.js";
import { MAX_SIDE, contextOf, createContext, fitWithin } from "../images.js";
import { pngOf } from "./png.js";
import { drawStrokes, insideBorder, maskOf } from "./strokes.js";
import { MESSAGES, imageFailure } from "./strings.js";

/** Distance that an arrow key moves the rectangle, as a fraction of the image. */
const STEP = 1 / 32;
const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
/** The rectangle at the first press of an arrow key. */
const RECTANGLE = { x: 0.375, y: 0.375, width: 0.25, height: 0.25 };

const STROKE_COLOR = "#ff2d78";

/** The border of an extended image: its width on each side as a fraction of the image, and the grey that marks a hole for models. */
const BORDER = 1 / 4;
const HOLE = "rgb(128 128 128)";

/**
 * @typedef {import("./strokes.js").Point} Point
 * @typedef {import("./strokes.js").Rectangle} Rectangle
 * @typedef {import("./strokes.js").Stroke} Stroke
 * @typedef {{ image: Blob, strokes: Stroke[] }} State
 */

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/**
 * Moves or resizes a rectangle within the image.
 * @param {Rectangle} rectangle
 * @param {readonly number[]} offset to the right and down
 * @param {boolean} resize
 * @returns {Rectangle}
 */
function shift({ x, y, width, height }, offset, resize) {
  const [right, down] = offset;
  return resize
    ? { x, y, width: clamp(width + right, STEP, 1 - x), height: clamp(height + down, STEP, 1 - y) }
    : { x: clamp(x + right, 0, 1 - width), y: clamp(y + down, 0, 1 - height), width, height };
}

/**
 * Outlines a rectangle by dashes that are visible on any image.
 * @param {CanvasRenderingContext2D} context
 * @param {Rectangle} rectangle
 */
function outline(context, { x, y, width, height }) {
  const { canvas } = context;
  const line = Math.max(2, canvas.width / 160);
  for (const [strokeStyle, dash] of /** @type {const} */ ([["black", []], ["white", [3 * line, 3 * line]]])) {
    Object.assign(context, { lineWidth: line, strokeStyle });
    context.setLineDash(dash);
    context.strokeRect(x * canvas.width, y * canvas.height, width * canvas.width, height * canvas.height);
  }
  context.setLineDash([]);
}

/**
 * Extends an image by a grey border. Returns the image and the border's fractions of its width and height.
 * @param {HTMLCanvasElement} source
 */
async function extended(source) {
  const [right, down] = [source.width, source.height].map((side) => Math.round(side * BORDER));
  const [width, height] = [source.width + 2 * right, source.height + 2 * down];
  const context = createContext(width, height);
  context.fillStyle = HOLE;
  context.fillRect(0, 0, width, height);
  context.drawImage(source, right, down);
  return { image: await pngOf(context.canvas, "extended.png"), x: right / width, y: down / height };
}

export class Painter {
  #view;
  #onDone;
  /** @type {HTMLDialogElement} */
  #dialog;
  /** @type {HTMLCanvasElement} */
  #canvas;
  /** @type {HTMLCanvasElement} */
  #image;
  /** The undo history: image and strokes from the first state to the current one. @type {State[]} */
  #states = [];
  /** The rectangle of the arrow keys, which Enter or Space paints. @type {Rectangle | null} */
  #rectangle = null;
  /** The stroke that is being drawn. @type {import("./strokes.js").BrushStroke | null} */
  #stroke = null;
  /** The id of its pointer; other pointers are ignored. @type {number | null} */
  #pointer = null;
  /** Serialises changes, because images are decoded and encoded asynchronously. */
  #changes = Promise.resolve();

  /**
   * @param {import("./view.js").View} view
   * @param {{ onDone: (mask: File, image: Blob) => void }} events the callback for the mask and its image
   */
  constructor(view, { onDone }) {
    this.#view = view;
    this.#onDone = onDone;
    [this.#dialog, this.#canvas, this.#image] = ["painter", "painter-canvas", "painter-image"].map(view.get);
    this.#listenToPointer();
    this.#listenToKeys();
    const onClick = (id, action) => view.get(id).addEventListener("click", action);
    onClick("painter-extend", () => this.#change(() => this.#extend()));
    onClick("painter-undo", () => this.#change(() => this.#undo()));
    onClick("painter-clear", () => this.#change(() => this.#clear()));
    onClick("painter-done", () => this.#change(() => this.#finish()));
    onClick("painter-close", () => this.#dialog.close());
  }

  /** Opens over an image. Strokes on the same image stay. @param {Blob} image */
  open(image) {
    return this.#change(async () => {
      if (this.#states.length === 0 || this.#current.image !== image) {
        this.#states = [{ image, strokes: [] }];
      }
      this.#rectangle = null;
      await this.#showImage();
      if (this.#view.host.isConnected && !this.#dialog.open) {
        this.#dialog.showModal();
      }
      this.#showCount();
      this.#canvas.focus();
    });
  }

  /** The current state. There is one since the painter was first opened. @returns {State} */
  get #current() {
    return this.#states[this.#states.length - 1];
  }

  /**
   * Runs a change after those before it. Shows why it failed; a failure that is not for want of memory is a defect.
   * @param {() => void | Promise<void>} change
   */
  #change(change) {
    this.#changes = this.#changes.then(change).catch((error) => {
      this.#showStatus(imageFailure(error));
      if (!isOutOfMemory(error)) {
        reportError(error);
      }
    });
    return this.#changes;
  }

  #listenToPointer() {
    const canvas = this.#canvas;
    /** @returns {Point} */
    const position = ({ clientX, clientY }) => {
      const { left, top, width, height } = canvas.getBoundingClientRect();
      return [(clientX - left) / width, (clientY - top) / height];
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.#stroke) {
        return;
      }
      canvas.setPointerCapture(event.pointerId);
      this.#rectangle = null;
      this.#stroke = { size: this.#view.get("painter-size").value / 100, points: [position(event)] };
      this.#pointer = event.pointerId;
      this.#add(this.#stroke);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.#stroke && event.pointerId === this.#pointer) {
        // A fast movement has several points per event.
        const events = event.getCoalescedEvents?.() ?? [];
        this.#stroke.points.push(...(events.length > 0 ? events : [event]).map(position));
        this.#draw();
      }
    });
    for (const type of /** @type {const} */ (["pointerup", "pointercancel"])) {
      canvas.addEventListener(type, (event) => {
        if (event.pointerId === this.#pointer) {
          this.#stroke = null;
        }
      });
    }
  }

  #listenToKeys() {
    this.#canvas.addEventListener("keydown", (event) => {
      if (event.key in ARROWS) {
        event.preventDefault();
        this.#rectangle = shift(this.#rectangle ?? RECTANGLE, ARROWS[event.key], event.shiftKey);
        this.#draw();
        this.#showStatus(MESSAGES.rectangle(this.#rectangle));
      } else if ((event.key === "Enter" || event.key === " ") && this.#rectangle) {
        event.preventDefault();
        this.#add({ ...this.#rectangle });
      }
    });
    this.#dialog.addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.#change(() => this.#undo());
      }
      // Do not pass the painter's keys on to the editor.
      event.stopPropagation();
    });
  }

  /** Adds a state. @param {State} state */
  #push(state) {
    this.#states.push(state);
    this.#draw();
    this.#showCount();
  }

  /** @param {Stroke} stroke */
  #add(stroke) {
    const { image, strokes } = this.#current;
    this.#push({ image, strokes: [...strokes, stroke] });
  }

  #clear() {
    this.#push({ image: this.#current.image, strokes: [] });
    this.#canvas.focus();
  }

  async #undo() {
    if (this.#states.length > 1) {
      const { image } = this.#current;
      this.#states.pop();
      await (image === this.#current.image ? this.#draw() : this.#showImage());
    }
    this.#showCount();
    if (this.#view.get("painter-undo").disabled) {
      this.#canvas.focus();
    }
  }

  /** Extends the image by a border and paints the border, so that the model continues the image (outpainting). */
  async #extend() {
    const { image, x, y } = await extended(this.#image);
    const border = [[0, 0, 1, y], [0, 1 - y, 1, y], [0, 0, x, 1], [1 - x, 0, x, 1]];
    const strokes = this.#current.strokes.map((stroke) => insideBorder(stroke, x, y));
    strokes.push(...border.map(([left, top, width, height]) => ({ x: left, y: top, width, height })));
    this.#rectangle = null;
    this.#push({ image, strokes });
    await this.#showImage();
    this.#showStatus(MESSAGES.extended);
  }

  async #finish() {
    const { image, strokes } = this.#current;
    const mask = await pngOf(maskOf(strokes, this.#canvas.width, this.#canvas.height), "mask.png");
    this.#dialog.close();
    this.#onDone(mask, image);
  }

  /** Shows the current image. */
  async #showImage() {
    const bitmap = await createImageBitmap(this.#current.image);
    // The engine limits sides to MAX_SIDE; a larger mask would only use memory.
    const size = fitWithin(bitmap, MAX_SIDE);
    Object.assign(this.#canvas, size);
    Object.assign(this.#image, size);
    contextOf(this.#image).drawImage(bitmap, 0, 0, size.width, size.height);
    bitmap.close();
    this.#view.get("painter-stage").style.setProperty("--shape", String(size.width / size.height));
    this.#draw();
  }

  #draw() {
    const { get } = this.#view;
    const context = contextOf(this.#canvas);
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    drawStrokes(context, this.#current.strokes, STROKE_COLOR);
    if (this.#rectangle) {
      outline(context, this.#rectangle);
    }
    get("painter-undo").disabled = this.#states.length === 1;
    for (const id of ["painter-clear", "painter-done"]) {
      get(id).disabled = this.#current.strokes.length === 0;
    }
  }

  #showCount() {
    this.#showStatus(MESSAGES.painted(this.#current.strokes.length));
  }

  #showStatus(text) {
    this.#view.get("painter-status").textContent = text;
  }
}
