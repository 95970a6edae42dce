/** Runs a request from click to result, or several requests one after another. */
import { UniRealError } from "../error.js";
import { randomSeed } from "./settings.js";
import { MESSAGES, duration, explain } from "./strings.js";

/** Number of variations that are generated to choose from. */
const VARIATIONS = 4;
/** Number of previews of a request. */
const PREVIEWS = 10;

/** @typedef {import("../unireal.d.ts").Timings} Timings */
/** @typedef {{ seeds: number[], timings: Timings, total: number }} Progress images so far */

/** The timings of no request. @type {Timings} */
const NO_TIME = { text: 0, encode: 0, sample: 0, decode: 0, total: 0 };

/** Adds the timings of two requests. @param {Timings} one @param {Timings} other @returns {Timings} */
const addTimings = (one, other) => ({
  text: one.text + other.text,
  encode: one.encode + other.encode,
  sample: one.sample + other.sample,
  decode: one.decode + other.decode,
  total: one.total + other.total,
});

export class Runner {
  #view;
  #parts;
  /** The controller of the running request. @type {AbortController | null} */
  #running = null;

  /**
   * @param {import("./view.js").View} view
   * @param {{ card: import("./model.js").ModelCard, inputs: import("./images.js").InputImages, settings: any,
   *   read: () => import("./history.js").State, result: import("./result.js").ResultPane,
   *   history: () => import("./history.js").History }} parts
   */
  constructor(view, parts) {
    this.#view = view;
    this.#parts = parts;
    const { get } = view;
    get("cancel").addEventListener("click", () => this.cancel());
    get("variations").addEventListener("click", () => this.press(true));
    get("editor").addEventListener("submit", (event) => {
      event.preventDefault();
      this.press(false);
    });
  }

  get isBusy() {
    return this.#running !== null;
  }

  cancel() {
    this.#running?.abort();
  }

  /**
   * Runs a request for a click. Without a model, tells the user what to do first.
   * @param {boolean} variations whether to generate several images, each with its own seed
   */
  async press(variations) {
    const { card } = this.#parts;
    if (this.#running) {
      return;
    }
    if (!card.model) {
      this.#view.hint(card.isLoading ? MESSAGES.stillLoading : MESSAGES.downloadFirst);
      this.#view.get("load").focus();
      return;
    }
    // The error was already shown.
    await this.#run(card.model, variations).catch(() => {});
  }

  /** Runs a request for the page that embeds the editor. Rejects with the error that is shown. */
  async generate() {
    if (this.#running) {
      throw new UniRealError("busy", "the editor is busy with another request; wait for it or cancel it");
    }
    const { model } = this.#parts.card;
    if (!model) {
      throw new UniRealError("request", "the model is not loaded; call load() or wait for \"unireal-ready\"");
    }
    return this.#run(model, false);
  }

  /** @param {import("../unireal.d.ts").Model} model @param {boolean} variations */
  async #run(model, variations) {
    const { inputs, card } = this.#parts;
    const { signal } = (this.#running = new AbortController());
    /** @type {Progress} */
    const progress = { seeds: [], timings: NO_TIME, total: 0 };
    let state;
    this.#begin();
    try {
      await inputs.settled();
      const { requests, state: read } = this.#requests(variations);
      state = read;
      progress.total = requests.length;
      await this.#generateAll(model, requests, signal, progress);
      const detail = await this.#finish(state, progress);
      card.describe();
      const time = duration(detail.timings.total);
      this.#view.status("done", variations ? MESSAGES.doneSome(progress.total, time) : MESSAGES.done(time));
      return detail;
    } catch (error) {
      await this.#fail(error, signal, state, progress);
      throw error;
    } finally {
      this.#end();
    }
  }

  /** Shows that a request runs. A pressed button passes its focus to the cancel button. */
  #begin() {
    const { root, get, status } = this.#view;
    const isPressed = root.activeElement === get("generate") || root.activeElement === get("variations");
    this.#parts.result.begin();
    this.#drawBusy(true);
    if (isPressed) {
      get("cancel").focus({ preventScroll: true });
    }
    status("working", MESSAGES.working);
    if (this.#isOneColumn()) {
      get("result-pane").scrollIntoView({ block: "nearest" });
    }
  }

  #end() {
    const { root, get } = this.#view;
    const isFocused = root.activeElement === get("cancel");
    this.#running = null;
    this.#drawBusy(false);
    if (isFocused) {
      get("generate").focus({ preventScroll: true });
    }
  }

  #drawBusy(busy) {
    const { get, show } = this.#view;
    get("generate").disabled = busy;
    get("variations").disabled = busy;
    show("steps-panel", busy);
    get("result").classList.toggle("busy", busy);
    get("result-pane").setAttribute("aria-busy", String(busy));
    this.#parts.history().draw();
  }

  /** Returns whether the result is below the form instead of beside it. */
  #isOneColumn() {
    return getComputedStyle(this.#view.get("editor")).gridTemplateColumns.split(" ").length === 1;
  }

  /** Returns the requests of a click, and the editor's state for the history. */
  #requests(variations) {
    const { lockSeed, ...settings } = this.#parts.settings.next();
    const state = this.#parts.read();
    const request = { ...settings, prompt: state.request.prompt, images: state.images };
    const seedAt = (index) => (index === 0 ? request.seed : randomSeed());
    const requests = variations
      ? Array.from({ length: VARIATIONS }, (_, index) => ({ ...request, outputs: 1, seed: seedAt(index) }))
      : [request];
    return { requests, state };
  }

  /**
   * Runs the requests one after another and draws their images.
   * @param {import("../unireal.d.ts").Model} model
   * @param {any[]} requests
   * @param {AbortSignal} signal
   * @param {Progress} progress
   */
  async #generateAll(model, requests, signal, progress) {
    const { result } = this.#parts;
    for (const [index, request] of requests.entries()) {
      const previewEvery = Math.max(1, Math.round(request.steps / PREVIEWS));
      const onStep = this.#stepBar(index, requests.length);
      const { images, seed, timings } = await model.generate({ ...request, previewEvery, onStep, signal });
      const count = Math.max(requests.length, images.length);
      result.paint(images, { preview: index + 1 < requests.length, offset: progress.seeds.length, count });
      progress.seeds.push(...images.map(() => seed));
      progress.timings = addTimings(progress.timings, timings);
    }
  }

  /** Returns a step callback that shows the progress and the remaining time. */
  #stepBar(index, count) {
    const { get, emit } = this.#view;
    const bar = get("step-bar");
    const show = (text) => {
      get("step-text").textContent = count > 1 ? MESSAGES.ofVariations(text, index + 1, count) : text;
    };
    if (index === 0) {
      bar.removeAttribute("value");
      get("step-left").textContent = "";
    }
    show(MESSAGES.reading);
    let first = null;
    return ({ step, steps, preview }) => {
      const now = performance.now();
      first ??= { now, step };
      bar.max = steps * count;
      bar.value = steps * index + step;
      show(MESSAGES.step(step, steps));
      const remaining = ((now - first.now) / (step - first.step)) * (steps * (count - index) - step);
      get("step-left").textContent = remaining > 0 && remaining < Infinity ? MESSAGES.remaining(duration(remaining)) : "";
      emit("progress", { stage: "steps", step: steps * index + step, steps: steps * count });
      if (preview) {
        this.#parts.result.paint(preview, { preview: true, offset: index, count: Math.max(count, preview.length) });
      }
    };
  }

  /**
   * Shows the complete images and adds them to the history.
   * @param {import("./history.js").State} state
   * @param {Progress} progress
   */
  async #finish(state, { seeds, timings }) {
    const { steps } = state.request;
    const before = state.images.find(({ role }) => role === "canvas")?.image ?? null;
    const result = await this.#parts.result.finish({ seeds, timings, steps, before });
    await this.#parts.history().addResult(state, result);
    const { lockSeed, ...request } = state.request;
    const detail = {
      images: result.images.map(({ file }) => file),
      seeds: result.images.map(({ seed }) => seed),
      timings: result.timings,
      request,
      inputs: state.images,
    };
    this.#view.emit("result", detail);
    return detail;
  }

  /**
   * Shows an error. The images that are complete stay, even if the remaining requests do not run.
   * @param {any} error anything may be thrown
   * @param {AbortSignal} signal
   * @param {import("./history.js").State | undefined} state undefined if no request has begun
   * @param {Progress} progress
   */
  async #fail(error, signal, state, progress) {
    const { get, status, emit } = this.#view;
    const { seeds, total } = progress;
    if (state && seeds.length > 0 && seeds.length < total) {
      await this.#finish(state, progress);
    } else {
      this.#parts.result.abandon();
    }
    if (signal.aborted || error.name === "AbortError") {
      status("cancelled", seeds.length > 0 ? MESSAGES.cancelledSome(seeds.length, total) : MESSAGES.cancelled);
    } else {
      const code = explain(get("error"), error);
      status("error", MESSAGES.failed, code);
      emit("error", { code, error });
    }
  }
}
