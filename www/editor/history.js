/** A history of requests and results. Kept in memory: it ends with the page. */
import { within } from "../pictures.js";
import { SAY } from "./words.js";

/** Maximum number of steps; the oldest are removed first. */
const MOST = 24;
/** Longer side of a thumbnail in pixels. */
const SIDE = 96;

/**
 * @typedef {{ images: import("./pictures.js").Picture[], request: any }} State the inputs, the prompt and the settings
 * @typedef {{ state: State, result: import("./result.js").Result | null, before: Step | null, after: Step | null,
 *   button: HTMLButtonElement | null }} Step
 */

/** Returns whether two states are the same request. Ignores a seed that is random for each request. */
function same(one, other) {
  const plain = ({ request }) => JSON.stringify({ ...request, seed: request.keepSeed ? request.seed : null });
  return plain(one) === plain(other) && one.images.length === other.images.length
    && one.images.every(({ image, role }, at) => image === other.images[at].image && role === other.images[at].role);
}

const isEmpty = ({ images, request }) => images.length === 0 && request.prompt.trim() === "";

/** Returns the result that was shown at a step: its own, or that of the nearest step before it. */
function shownAt(step) {
  for (let one = step; one; one = one.before) {
    if (one.result) {
      return one.result;
    }
  }
  return null;
}

async function thumbnail(file) {
  const bitmap = await createImageBitmap(file);
  const canvas = Object.assign(document.createElement("canvas"), within(bitmap, SIDE));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}

/**
 * A tree of steps: undo goes to the step before this one, redo to the latest step after it. A change after an undo therefore
 * loses nothing.
 * @param {import("./view.js").View} view
 * @param {{ read: () => State, write: (state: State, result: import("./result.js").Result | null) => Promise<void>,
 *   isBusy: () => boolean }} options
 */
export function history({ get, show, hint, root }, { read, write, isBusy }) {
  /** @type {Step[]} */
  const steps = [];
  /** @type {Step | null} */
  let current = null;
  let number = 0;

  const isChanged = () => (current ? !same(read(), current.state) : !isEmpty(read()));

  function draw() {
    get("undo").disabled = isBusy() || !(current && (current.before || isChanged()));
    get("redo").disabled = isBusy() || !current?.after;
    for (const { button, result } of steps) {
      if (button) {
        button.disabled = isBusy();
        button.setAttribute("aria-current", String(result === (current && shownAt(current))));
      }
    }
    show("history", steps.filter(({ button }) => button).length > 1);
  }

  /** Removes the oldest steps and all references to them. */
  function trim() {
    while (steps.length > MOST) {
      const at = steps.findIndex((step) => step !== current);
      const [old] = steps.splice(at, 1);
      old.button?.parentElement.remove();
      for (const step of steps) {
        step.before = step.before === old ? old.before : step.before;
        step.after = step.after === old ? old.after : step.after;
      }
    }
  }

  function add(state) {
    const step = { state, result: null, before: current, after: null, button: null };
    if (current) {
      current.after = step;
    }
    steps.push(step);
    current = step;
    trim();
  }

  /** Adds the editor's current state as a step, if it changed. */
  function keep() {
    if (isChanged()) {
      add(read());
      draw();
    }
  }

  async function go(step) {
    if (!step) {
      return;
    }
    const focused = root.activeElement;
    current = step;
    await write(step.state, shownAt(step));
    draw();
    hint(SAY.back);
    // A button that becomes disabled passes the focus to its neighbour.
    if (focused?.disabled) {
      (focused === get("undo") ? get("redo") : get("undo")).focus();
    }
  }

  /** Serialises moves, so that a half-restored state does not count as a change by the user. */
  let moves = Promise.resolve();
  const inTurn = (move) => (moves = moves.then(() => (isBusy() ? undefined : move())));

  const undo = () => inTurn(() => {
    if (current) {
      keep();
      return go(current.before);
    }
  });

  /** Redo does nothing after a change. */
  const redo = () => inTurn(() => (current && !isChanged() ? go(current.after) : undefined));

  get("undo").addEventListener("click", undo);
  get("redo").addEventListener("click", redo);

  return {
    keep,
    undo,
    redo,
    draw,

    /** Adds the result of a request. @param {State} state at the request @param {import("./result.js").Result} result */
    async record(state, result) {
      if (!current || current.result || !same(current.state, state)) {
        add(state);
      }
      const step = current;
      Object.assign(step, { state, result });
      number += 1;
      const button = Object.assign(document.createElement("button"), { type: "button", className: "thumb" });
      button.setAttribute("aria-label", SAY.historyStep(number, state.request.prompt));
      button.title = state.request.prompt;
      button.append(await thumbnail(result.pictures[0].file));
      button.addEventListener("click", () => inTurn(() => {
        keep();
        return go(step);
      }));
      step.button = button;
      const item = document.createElement("li");
      item.append(button);
      get("history-list").append(item);
      item.parentElement.scrollLeft = item.parentElement.scrollWidth;
      draw();
    },
  };
}
