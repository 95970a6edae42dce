/** A history of requests and results in memory: it ends with the page. */
import { fitWithin } from "../images.js";
import { MESSAGES } from "./strings.js";

/** Maximum number of steps; the oldest are removed first. */
const MAX_STEPS = 24;
/** Longer side of a thumbnail in pixels. */
const THUMBNAIL_SIDE = 96;

/**
 * @typedef {{ images: import("../editor.d.ts").EditorImage[], request: any }} State the inputs, the prompt and the settings
 * @typedef {{ state: State, result: import("./result.js").Result | null, before: Step | null, after: Step | null,
 *   button: HTMLButtonElement | null }} Step
 */

/** Returns whether two states are the same request. Ignores a seed that is random for each request. */
function isSame(one, other) {
  const comparable = ({ request }) => JSON.stringify({ ...request, seed: request.lockSeed ? request.seed : null });
  return comparable(one) === comparable(other) && one.images.length === other.images.length
    && one.images.every(({ image, role }, at) => image === other.images[at].image && role === other.images[at].role);
}

const isEmpty = ({ images, request }) => images.length === 0 && request.prompt.trim() === "";

/** Returns the result that was shown at a step: its own, or that of the nearest step before it. @param {Step} step */
function resultAt(step) {
  for (let one = /** @type {Step | null} */ (step); one; one = one.before) {
    if (one.result) {
      return one.result;
    }
  }
  return null;
}

async function thumbnail(file) {
  const bitmap = await createImageBitmap(file);
  const canvas = Object.assign(document.createElement("canvas"), fitWithin(bitmap, THUMBNAIL_SIDE));
  // Without memory for a context, the thumbnail stays empty.
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}

/**
 * A tree of steps: undo goes to the step before this one, redo to the latest step after it. A change after an undo therefore
 * loses nothing.
 */
export class History {
  #view;
  #editor;
  /** @type {Step[]} */
  #steps = [];
  /** @type {Step | null} */
  #current = null;
  #resultCount = 0;
  /** Serialises moves, so that a half-restored state does not count as a change by the user. */
  #moves = Promise.resolve();

  /**
   * @param {import("./view.js").View} view
   * @param {{ read: () => State, write: (state: State, result: import("./result.js").Result | null) => Promise<void>,
   *   isBusy: () => boolean }} editor
   */
  constructor(view, editor) {
    this.#view = view;
    this.#editor = editor;
    view.get("undo").addEventListener("click", () => this.undo());
    view.get("redo").addEventListener("click", () => this.redo());
  }

  draw() {
    const { get, show } = this.#view;
    const current = this.#current;
    const busy = this.#editor.isBusy();
    get("undo").disabled = busy || !(current && (current.before || this.#isChanged()));
    get("redo").disabled = busy || !current?.after;
    for (const { button, result } of this.#steps) {
      if (button) {
        button.disabled = busy;
        button.setAttribute("aria-current", String(result === (current && resultAt(current))));
      }
    }
    show("history", this.#steps.filter(({ button }) => button).length > 1);
  }

  /** Adds the editor's current state as a step, if it changed. */
  saveState() {
    if (this.#isChanged()) {
      this.#add(this.#editor.read());
      this.draw();
    }
  }

  undo() {
    return this.#move(async () => {
      if (this.#current) {
        this.saveState();
        await this.#go(this.#current.before);
      }
    });
  }

  /** Redo does nothing after a change. */
  redo() {
    return this.#move(() => (this.#current && !this.#isChanged() ? this.#go(this.#current.after) : undefined));
  }

  /** Adds the result of a request. @param {State} state at the request @param {import("./result.js").Result} result */
  async addResult(state, result) {
    const current = this.#current;
    const step = current && !current.result && isSame(current.state, state) ? current : this.#add(state);
    Object.assign(step, { state, result });
    this.#resultCount += 1;
    const button = Object.assign(document.createElement("button"), { type: "button", className: "thumb" });
    button.setAttribute("aria-label", MESSAGES.historyStep(this.#resultCount, state.request.prompt));
    button.title = state.request.prompt;
    button.append(await thumbnail(result.images[0].file));
    button.addEventListener("click", () => this.#move(() => {
      this.saveState();
      return this.#go(step);
    }));
    step.button = button;
    const item = document.createElement("li");
    item.append(button);
    const list = this.#view.get("history-list");
    list.append(item);
    list.scrollLeft = list.scrollWidth;
    this.draw();
  }

  #isChanged() {
    const state = this.#editor.read();
    return this.#current ? !isSame(state, this.#current.state) : !isEmpty(state);
  }

  /** @param {() => void | Promise<void>} move */
  #move(move) {
    this.#moves = this.#moves.then(() => (this.#editor.isBusy() ? undefined : move()));
    return this.#moves;
  }

  /** @param {Step | null} step */
  async #go(step) {
    if (!step) {
      return;
    }
    const { root, get, hint } = this.#view;
    const focused = /** @type {HTMLElement | null} */ (root.activeElement);
    this.#current = step;
    await this.#editor.write(step.state, resultAt(step));
    this.draw();
    hint(MESSAGES.restored);
    // A button that becomes disabled passes the focus to its neighbour.
    if (focused?.matches(":disabled")) {
      (focused === get("undo") ? get("redo") : get("undo")).focus();
    }
  }

  /** Adds a step after the current one and returns it. @param {State} state */
  #add(state) {
    /** @type {Step} */
    const step = { state, result: null, before: this.#current, after: null, button: null };
    if (this.#current) {
      this.#current.after = step;
    }
    this.#steps.push(step);
    this.#current = step;
    this.#trim();
    return step;
  }

  /** Removes the oldest steps and all references to them. */
  #trim() {
    while (this.#steps.length > MAX_STEPS) {
      const at = this.#steps.findIndex((step) => step !== this.#current);
      const [oldest] = this.#steps.splice(at, 1);
      oldest.button?.closest("li")?.remove();
      for (const step of this.#steps) {
        step.before = step.before === oldest ? oldest.before : step.before;
        step.after = step.after === oldest ? oldest.after : step.after;
      }
    }
  }
}
