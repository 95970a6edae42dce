/** Runs a request from click to result, or several requests one after another. */
import { UniRealError } from "../error.js";
import { randomSeed } from "./settings.js";
import { SAY, duration, explain } from "./words.js";

/** Number of variations that are generated to choose from. */
const VARIATIONS = 4;

/**
 * @param {import("./view.js").View} view
 * @param {{ engine: any, inputs: any, settings: any, read: () => import("./history.js").State, result: any,
 *   history: () => ReturnType<typeof import("./history.js").history> }} parts
 */
export function runs({ root, get, show, hint, status, emit }, { engine, inputs, settings, read, result, history }) {
  /** @type {AbortController | null} */
  let working = null;

  function hold(on) {
    get("generate").disabled = on;
    get("variations").disabled = on;
    show("steps-panel", on);
    get("result").classList.toggle("busy", on);
    get("result-pane").setAttribute("aria-busy", String(on));
    history().draw();
  }

  /** Returns a step callback that shows the progress and the remaining time. */
  function stepBar(index, count) {
    const bar = get("step-bar");
    const say = (text) => {
      get("step-text").textContent = count > 1 ? SAY.ofVariations(text, index + 1, count) : text;
    };
    if (index === 0) {
      bar.removeAttribute("value");
      get("step-left").textContent = "";
    }
    say(SAY.reading);
    let first = null;
    return ({ step, steps, preview }) => {
      const now = performance.now();
      first ??= { now, step };
      bar.max = steps * count;
      bar.value = steps * index + step;
      say(SAY.step(step, steps));
      const left = ((now - first.now) / (step - first.step)) * (steps * (count - index) - step);
      get("step-left").textContent = left > 0 && left < Infinity ? SAY.left(duration(left)) : "";
      emit("progress", { stage: "steps", step: steps * index + step, steps: steps * count });
      if (preview) {
        result.paint(preview, { preview: true, kept: index, count: Math.max(count, preview.length) });
      }
    };
  }

  /** Runs the requests one after another and draws their images. */
  async function make(model, requests, signal, made) {
    for (const [index, request] of requests.entries()) {
      const previewEvery = Math.max(1, Math.round(request.steps / 10));
      const onStep = stepBar(index, requests.length);
      const { images, seed, timings } = await model.generate({ ...request, previewEvery, onStep, signal });
      const count = Math.max(requests.length, images.length);
      result.paint(images, { preview: index + 1 < requests.length, kept: made.seeds.length, count });
      made.seeds.push(...images.map(() => seed));
      made.timings = made.timings
        ? Object.fromEntries(Object.entries(timings).map(([stage, time]) => [stage, time + made.timings[stage]]))
        : timings;
    }
  }

  async function finish(state, made) {
    const { steps } = state.request;
    const before = state.images.find(({ role }) => role === "canvas")?.image ?? null;
    const kept = await result.finish({ ...made, steps, before });
    await history().record(state, kept);
    const { pictures, timings } = kept;
    const { keepSeed, ...request } = state.request;
    const detail = { images: pictures.map(({ file }) => file), seeds: pictures.map(({ seed }) => seed), timings, request, inputs: state.images };
    emit("result", detail);
    return detail;
  }

  /** Returns whether the result is below the form instead of beside it. */
  const isOneColumn = () => getComputedStyle(get("editor")).gridTemplateColumns.split(" ").length === 1;

  /** @param {boolean} vary whether to generate several images, each with its own seed */
  async function run(vary) {
    const model = engine.loaded();
    const { signal } = (working = new AbortController());
    const made = { seeds: [], timings: null };
    let state, total;
    const pressed = root.activeElement === get("generate") || root.activeElement === get("variations");
    result.begin();
    hold(true);
    if (pressed) {
      get("cancel").focus({ preventScroll: true });
    }
    status("working", SAY.working);
    if (isOneColumn()) {
      get("result-pane").scrollIntoView({ block: "nearest" });
    }
    try {
      await inputs.settled();
      const { keepSeed, ...chosen } = settings.next();
      state = read();
      const request = { ...chosen, prompt: state.request.prompt, images: state.images };
      const requests = vary
        ? Array.from({ length: VARIATIONS }, (_, index) => ({ ...request, outputs: 1, seed: index === 0 ? request.seed : randomSeed() }))
        : [request];
      total = requests.length;
      await make(model, requests, signal, made);
      const detail = await finish(state, made);
      engine.describe();
      const time = duration(detail.timings.total);
      status("done", vary ? SAY.doneSome(total, time) : SAY.done(time));
      return detail;
    } catch (error) {
      // The images that are complete stay, even if the remaining requests do not run.
      if (made.seeds.length > 0 && made.seeds.length < total) {
        await finish(state, made);
      } else {
        result.abandon();
      }
      if (signal.aborted || error.name === "AbortError") {
        status("cancelled", made.seeds.length > 0 ? SAY.cancelledSome(made.seeds.length, total) : SAY.cancelled);
      } else {
        const code = explain(get("error"), error);
        status("error", SAY.failed, code);
        emit("error", { code, error });
      }
      throw error;
    } finally {
      const focused = root.activeElement === get("cancel");
      working = null;
      hold(false);
      if (focused) {
        get("generate").focus({ preventScroll: true });
      }
    }
  }

  /** Runs a request for a click. Without a model, tells the user what to do first. */
  async function press(vary) {
    if (working) {
      return;
    }
    if (!engine.loaded()) {
      hint(engine.isLoading() ? SAY.stillLoading : SAY.downloadFirst);
      get("load").focus();
      return;
    }
    // The error was already shown.
    await run(vary).catch(() => {});
  }

  get("cancel").addEventListener("click", () => working?.abort());
  get("variations").addEventListener("click", () => press(true));
  get("editor").addEventListener("submit", (event) => {
    event.preventDefault();
    press(false);
  });

  return {
    press,
    isBusy: () => working !== null,
    cancel: () => working?.abort(),

    /** Runs a request for the page that embeds the editor. Rejects with the error that is shown. */
    async generate() {
      if (working) {
        throw new UniRealError("busy", "the editor is busy with another request; wait for it or cancel it");
      }
      if (!engine.loaded()) {
        throw new UniRealError("request", "the model is not loaded; call load() or wait for \"unireal-ready\"");
      }
      return run(false);
    },
  };
}
