/** Context tags and settings: the parts of a request that have defaults. */
import { renamed } from "../renamed.js";
import { card } from "./view.js";
import { CONTEXT, OPPOSITES, TAGS, stepCount } from "./strings.js";

/** Settings by their name in a request, with the id of their field. */
export const FIELDS = { outputs: "outputs", steps: "steps", guidance: "guidance", imageGuidance: "image-guidance", seed: "seed" };

/** The settings whose default is the model's own. */
const MODEL_DEFAULTS = ["steps", "guidance"];

/** Sets a field to a value, clamped to the field's range, and returns true. Returns false if it is not a number. */
function fill(field, value) {
  const number = Number(value);
  if (value == null || value === "" || !Number.isFinite(number)) {
    return false;
  }
  const { min, max, step } = field;
  const clamped = Math.min(Number(max), Math.max(Number(min), number));
  field.value = String(step === "1" ? Math.round(clamped) : clamped);
  return true;
}

/** The chosen context tags, or derived ones. */
class Tags {
  #view;
  /** Null for derived tags. @type {Set<import("../unireal.d.ts").Tag> | null} */
  #chosen = null;

  /** @param {import("./view.js").View} view */
  constructor(view) {
    this.#view = view;
    this.#addButton("", CONTEXT.automatic, CONTEXT.description, () => this.put(null));
    for (const [tag, description] of TAGS) {
      this.#addButton(tag, tag, description, () => {
        this.#choose(tag, !this.#chosen?.has(tag));
        this.#draw();
      });
    }
    this.#draw();
  }

  #addButton(tag, title, description, onClick) {
    const button = card(title, description, onClick);
    button.dataset.tag = tag;
    this.#view.get("tags").append(button);
  }

  /** @returns {import("../unireal.d.ts").Tag[] | null} */
  read() {
    return this.#chosen && [...this.#chosen];
  }

  /** Replaces the tags; unknown ones are dropped, null derives them. @param {readonly string[] | null} tags */
  put(tags) {
    this.#chosen = null;
    (tags ?? []).flatMap((text) => TAGS.filter(([tag]) => tag === text)).forEach(([tag]) => this.#choose(tag, true));
    this.#draw();
  }

  /**
   * Adds or removes a tag. Adding a tag removes its opposite; without tags they are derived again.
   * @param {import("../unireal.d.ts").Tag} tag
   * @param {boolean} on
   */
  #choose(tag, on) {
    const opposite = OPPOSITES.get(tag);
    const chosen = new Set([...(this.#chosen ?? [])].filter((other) => other !== tag && !(on && other === opposite)));
    if (on) {
      chosen.add(tag);
    }
    this.#chosen = chosen.size > 0 ? chosen : null;
  }

  #draw() {
    const { get } = this.#view;
    for (const button of get("tags").children) {
      const { tag } = button.dataset;
      button.setAttribute("aria-pressed", String(tag ? Boolean(this.#chosen?.has(tag)) : !this.#chosen));
    }
    get("context-summary").textContent = this.read()?.join(", ") ?? CONTEXT.automatic;
  }
}

export class Settings {
  #view;
  #tags;
  /** Names of settings that the user chose and that a model's defaults do not replace. @type {Set<string>} */
  #chosen = new Set();

  /** @param {import("./view.js").View} view */
  constructor(view) {
    this.#view = view;
    this.#tags = new Tags(view);
    const { get } = view;
    get("settings").addEventListener("input", () => this.#draw());
    for (const name of MODEL_DEFAULTS) {
      get(FIELDS[name]).addEventListener("input", () => this.#chosen.add(name));
    }
    get("seed").addEventListener("input", () => this.#lock(get("seed").value !== ""));
    get("dice").addEventListener("click", () => this.#roll());
    get("lock").addEventListener("click", () => this.#lock(!this.#isLocked()));
    this.#roll();
  }

  /** Returns the current settings. `lockSeed` tells whether the next request uses the same seed. */
  read() {
    const { get } = this.#view;
    const numbers = Object.entries(FIELDS).map(([name, id]) => [name, Number(get(id).value)]);
    return {
      context: this.#tags.read(), ...Object.fromEntries(numbers), composite: get("composite").checked, lockSeed: this.#isLocked(),
    };
  }

  /** Returns the settings of the next request. Draws a new seed unless it is locked. */
  next() {
    if (!this.#isLocked() || this.#view.get("seed").value === "") {
      this.#roll();
    }
    return this.read();
  }

  /** Sets a model's defaults unless the user chose a value. @param {{ steps: number, guidance: number }} info */
  useDefaults(info) {
    for (const name of MODEL_DEFAULTS.filter((name) => !this.#chosen.has(name))) {
      fill(this.#view.get(FIELDS[name]), info[name]);
    }
    this.#draw();
  }

  /**
   * Sets settings of the history, a page or a link; missing ones stay. Locks a given seed unless `lockSeed` says
   * otherwise.
   * @param {Partial<ReturnType<Settings["read"]>>} settings
   */
  put(settings) {
    const { get } = this.#view;
    const given = renamed(settings, "keep", "composite");
    for (const [name, id] of Object.entries(FIELDS)) {
      if (fill(get(id), given[name])) {
        this.#chosen.add(name);
      }
    }
    if (typeof given.composite === "boolean") {
      get("composite").checked = given.composite;
    }
    if (given.lockSeed !== undefined || given.seed !== undefined) {
      this.#lock(given.lockSeed ?? given.seed != null);
    }
    if (given.context !== undefined) {
      this.#tags.put(given.context);
    }
    this.#draw();
  }

  #isLocked() {
    return this.#view.get("lock").getAttribute("aria-pressed") === "true";
  }

  #lock(on) {
    this.#view.get("lock").setAttribute("aria-pressed", String(on));
    this.#draw();
  }

  /** Sets a random seed. */
  #roll() {
    this.#view.get("seed").value = String(randomSeed());
    this.#draw();
  }

  #draw() {
    const { get, root } = this.#view;
    for (const output of root.querySelectorAll("output")) {
      output.textContent = get(output.htmlFor.value).value;
    }
    const steps = Number(get("steps").value);
    get("settings-summary").textContent = stepCount(steps) + (this.#isLocked() ? `, seed ${get("seed").value}` : "");
  }
}

/** Returns a random 32-bit seed, like the engine's default. */
export const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];
