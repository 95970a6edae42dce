/** Context tags and settings: the parts of a request that have defaults. */
import { renamed } from "../renamed.js";
import { card } from "./view.js";
import { CONTEXT, OPPOSITES, TAGS, stepCount } from "./words.js";

/** Settings by their name in a request, with the id of their field. */
export const FIELDS = { outputs: "outputs", steps: "steps", guidance: "guidance", imageGuidance: "image-guidance", seed: "seed" };

/** @param {import("./view.js").View} view */
export function settings({ get, root }) {
  /** The chosen tags, or null for derived ones. @type {Set<import("../unireal.d.ts").Tag> | null} */
  let tags = null;
  /** Names of settings that the user chose and that a model's defaults do not replace. @type {Set<string>} */
  const chosen = new Set();

  function drawTags() {
    for (const button of get("tags").children) {
      const { tag } = button.dataset;
      button.setAttribute("aria-pressed", String(tag ? Boolean(tags?.has(tag)) : !tags));
    }
    get("context-summary").textContent = tags ? [...tags].join(", ") : CONTEXT.automatic;
  }

  /** Adds or removes a tag. Adding a tag removes its opposite; without tags they are derived again. */
  function choose(tag, on) {
    const pressed = new Set(tags ?? []);
    pressed.delete(tag);
    if (on) {
      pressed.delete(OPPOSITES.get(tag));
      pressed.add(tag);
    }
    tags = tag && pressed.size > 0 ? pressed : null;
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

  /** Sets a field to a value, clamped to the field's range, and returns true. Returns false if it is not a number. */
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
  for (const name of ["steps", "guidance"]) {
    get(FIELDS[name]).addEventListener("input", () => chosen.add(name));
  }
  get("seed").addEventListener("input", () => (lock(get("seed").value !== ""), draw()));
  get("dice").addEventListener("click", () => (roll(), draw()));
  get("lock").addEventListener("click", () => (lock(!isLocked()), draw()));
  roll();
  draw();

  /** Returns the current settings. `keepSeed` tells whether the next request uses the same seed. */
  function read() {
    const numbers = Object.entries(FIELDS).map(([name, id]) => [name, Number(get(id).value)]);
    return { context: tags && [...tags], ...Object.fromEntries(numbers), composite: get("composite").checked, keepSeed: isLocked() };
  }

  return {
    read,

    /** Sets a model's defaults unless the user chose a value. @param {{ steps: number, guidance: number }} info */
    useDefaults(info) {
      for (const name of ["steps", "guidance"].filter((name) => !chosen.has(name))) {
        fill(get(FIELDS[name]), info[name]);
      }
      draw();
    },

    /** Returns the settings of the next request. Draws a new seed unless it is locked. */
    next() {
      if (!isLocked() || get("seed").value === "") {
        roll();
        draw();
      }
      return read();
    },

    /**
     * Sets settings of the history, a page or a link; missing ones stay. Locks a given seed unless `keepSeed` says
     * otherwise.
     * @param {Partial<ReturnType<typeof read>>} given
     */
    put(settings) {
      const given = renamed(settings, "keep", "composite");
      for (const [name, id] of Object.entries(FIELDS)) {
        if (fill(get(id), given[name])) {
          chosen.add(name);
        }
      }
      if (typeof given.composite === "boolean") {
        get("composite").checked = given.composite;
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

/** Returns a random 32-bit seed, like the engine's default. */
export const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];
