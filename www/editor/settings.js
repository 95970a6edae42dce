/** Context tags and settings: the part of a request that has defaults. */
import { card } from "./view.js";
import { CONTEXT, OPPOSITES, TAGS, stepCount } from "./words.js";

/** Settings by their name in a request, and the field of each. */
export const FIELDS = { outputs: "outputs", steps: "steps", guidance: "guidance", imageGuidance: "image-guidance", seed: "seed" };

/** @param {import("./view.js").View} view */
export function settings({ get, root }) {
  /** The chosen tags, or null for the derived ones. @type {Set<import("../unireal.d.ts").Tag> | null} */
  let tags = null;
  /** Whether somebody asked for a number of steps: then a model's own number changes nothing. */
  let stepsChosen = false;

  function drawTags() {
    for (const button of get("tags").children) {
      const { tag } = button.dataset;
      button.setAttribute("aria-pressed", String(tag ? Boolean(tags?.has(tag)) : !tags));
    }
    get("context-summary").textContent = tags ? [...tags].join(", ") : CONTEXT.automatic;
  }

  /** No tag left means automatic again; of two that contradict each other the newer stays. */
  function choose(tag, on) {
    const chosen = new Set(tags ?? []);
    chosen.delete(tag);
    if (on) {
      chosen.delete(OPPOSITES.get(tag));
      chosen.add(tag);
    }
    tags = tag && chosen.size > 0 ? chosen : null;
  }

  function makeTags() {
    for (const [tag, meaning] of [["", CONTEXT.meaning], ...TAGS]) {
      const button = card(tag || CONTEXT.automatic, meaning, () => (choose(tag, !tags?.has(tag)), drawTags()));
      button.dataset.tag = tag;
      get("tags").append(button);
    }
  }

  const isLocked = () => get("lock").getAttribute("aria-pressed") === "true";

  function lock(on) {
    get("lock").setAttribute("aria-pressed", String(on));
  }

  function roll() {
    get("seed").value = String(randomSeed());
  }

  function draw() {
    for (const output of root.querySelectorAll("output")) {
      output.textContent = get(output.htmlFor.value).value;
    }
    const steps = Number(get("steps").value);
    get("settings-summary").textContent = stepCount(steps) + (isLocked() ? `, seed ${get("seed").value}` : "");
  }

  /** Sets a field to what it takes of a value, and says that it did; what is no number changes nothing. */
  function fill(field, value) {
    const number = Number(value);
    if (value == null || value === "" || !Number.isFinite(number)) {
      return false;
    }
    const { min, max, step } = field;
    const within = Math.min(Number(max), Math.max(Number(min), number));
    field.value = String(step === "1" ? Math.round(within) : within);
    return true;
  }

  makeTags();
  drawTags();
  get("settings").addEventListener("input", draw);
  get("steps").addEventListener("input", () => (stepsChosen = true));
  get("seed").addEventListener("input", () => (lock(get("seed").value !== ""), draw()));
  get("dice").addEventListener("click", () => (roll(), draw()));
  get("lock").addEventListener("click", () => (lock(!isLocked()), draw()));
  roll();
  draw();

  /** What is set. `keepSeed` tells whether the next request takes the same seed again. */
  function read() {
    const numbers = Object.entries(FIELDS).map(([name, id]) => [name, Number(get(id).value)]);
    return { context: tags && [...tags], ...Object.fromEntries(numbers), keep: get("keep").checked, keepSeed: isLocked() };
  }

  return {
    read,

    /** The number of steps of a model, where nobody chose one. @param {number} number */
    useSteps(number) {
      if (!stepsChosen) {
        fill(get("steps"), number);
        draw();
      }
    },

    /** The settings of the next request. A seed that is not locked is drawn anew, and shown. */
    next() {
      if (!isLocked() || get("seed").value === "") {
        roll();
        draw();
      }
      return read();
    },

    /**
     * Puts settings back, or those that a page or a link gives: what is left out stays. A seed is locked unless
     * `keepSeed` says otherwise.
     * @param {Partial<ReturnType<typeof read>>} given
     */
    put(given) {
      for (const [name, id] of Object.entries(FIELDS)) {
        const filled = fill(get(id), given[name]);
        stepsChosen ||= filled && name === "steps";
      }
      if (typeof given.keep === "boolean") {
        get("keep").checked = given.keep;
      }
      if (given.keepSeed !== undefined || given.seed !== undefined) {
        lock(given.keepSeed ?? given.seed != null);
      }
      if (given.context !== undefined) {
        const known = new Set(TAGS.map(([tag]) => tag));
        tags = null;
        (given.context ?? []).filter((tag) => known.has(tag)).forEach((tag) => choose(tag, true));
        drawTags();
      }
      draw();
    },
  };
}

/** A seed as the engine would draw one. */
export const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];
