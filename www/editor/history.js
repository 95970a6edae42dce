/** What was asked and made, to go back to. Kept in memory only: it ends with the page. */
import { within } from "../pictures.js";
import { SAY } from "./words.js";

/** Steps that are kept; the oldest go first. */
const MOST = 24;
/** Pixels of a thumbnail's longer side. */
const SIDE = 96;

/**
 * @typedef {{ images: import("./pictures.js").Picture[], request: any }} State the inputs, the prompt and the settings
 * @typedef {{ state: State, result: import("./result.js").Result | null, before: Step | null, after: Step | null,
 *   button: HTMLButtonElement | null }} Step
 */

/** Whether two states ask for the same; a seed that is drawn anew each time is no difference. */
function same(one, other) {
  const plain = ({ request }) => JSON.stringify({ ...request, seed: request.keepSeed ? request.seed : null });
  return plain(one) === plain(other) && one.images.length === other.images.length
    && one.images.every(({ image, role }, at) => image === other.images[at].image && role === other.images[at].role);
}

const isEmpty = ({ images, request }) => images.length === 0 && request.prompt.trim() === "";

/** The result that was on show at a step: its own, or the one before it. */
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
 * Steps form a tree: undo goes to the step that this one came from, redo to the one that came after it last. So what
 * is undone and changed is not lost either.
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

  /** Lets go of what is too old: nothing refers to it any more. */
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

  /** Puts what stands in the editor among the steps, if it is not there yet. */
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
    // A button that has nothing left to do gives the focus to its neighbour.
    if (focused?.disabled) {
      (focused === get("undo") ? get("redo") : get("undo")).focus();
    }
  }

  /** One move after another: what is half put back is no change of a person's. */
  let moves = Promise.resolve();
  const inTurn = (move) => (moves = moves.then(() => (isBusy() ? undefined : move())));

  const undo = () => inTurn(() => {
    if (current) {
      keep();
      return go(current.before);
    }
  });

  /** A change has nothing after it yet. */
  const redo = () => inTurn(() => (current && !isChanged() ? go(current.after) : undefined));

  get("undo").addEventListener("click", undo);
  get("redo").addEventListener("click", redo);

  return {
    keep,
    undo,
    redo,
    draw,

    /** A request made its result. @param {State} state as it was asked @param {import("./result.js").Result} result */
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
