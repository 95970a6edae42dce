/** One request from press to picture, or several one after another. */
import { UniRealError } from "../error.js";
import { randomSeed } from "./settings.js";
import { SAY, duration, explain } from "./words.js";

/** Pictures that are made to choose from. */
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

  /** Shows the steps as they come, with the time that the rest will take. */
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

  /** The request's pictures as they come; each further request adds its own. */
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

  /** Whether the result lies below what one presses. */
  const isOneColumn = () => getComputedStyle(get("editor")).gridTemplateColumns.split(" ").length === 1;

  /** @param {boolean} vary whether to make several pictures, each with a seed of its own */
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
      // What is made is there to stay, also when the rest is not to come.
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

  /** What a person asks for: without a model it is said what to do first. */
  async function press(vary) {
    if (working) {
      return;
    }
    if (!engine.loaded()) {
      hint(engine.isLoading() ? SAY.stillLoading : SAY.downloadFirst);
      get("load").focus();
      return;
    }
    // What went wrong was shown.
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

    /** What the page that holds the editor asks for: what goes wrong is thrown as well. */
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
