/** The demo page: one request from press to picture. Uses only the public module; the parts lie in demo/. */
import * as engine from "./demo/model.js";
import { get, hint, show, status } from "./demo/page.js";
import { pictures } from "./demo/pictures.js";
import { drawExamples, drawIdeas, insertName } from "./demo/prompts.js";
import * as controls from "./demo/settings.js";
import * as updates from "./demo/updates.js";
import { duration, explain } from "./demo/words.js";

const query = new URLSearchParams(location.search);

/** @type {AbortController | null} */
let working = null;
const inputs = pictures({ onName: insertName });

function hold(on) {
  get("generate").disabled = on;
  show("steps-panel", on);
  get("result").classList.toggle("busy", on);
  get("result-pane").setAttribute("aria-busy", String(on));
}

/** Shows the steps as they come, with the time that the rest will take. */
function stepBar() {
  const bar = get("step-bar");
  bar.removeAttribute("value");
  get("step-text").textContent = "Reading the prompt and the pictures…";
  get("step-left").textContent = "";
  let first = null;
  return ({ step, steps, preview }) => {
    const now = performance.now();
    first ??= { now, step };
    bar.max = steps;
    bar.value = step;
    get("step-text").textContent = step < steps ? `Step ${step} of ${steps}` : "Finishing…";
    const left = ((now - first.now) / (step - first.step)) * (steps - step);
    get("step-left").textContent = left > 0 && left < Infinity ? `about ${duration(left)} left` : "";
    if (preview) {
      paint(preview, true);
    }
  };
}

async function generate() {
  if (working) {
    return;
  }
  const model = engine.loaded();
  if (!model) {
    hint(engine.isLoading() ? "The model is still loading; one moment." : "First download the model, at the top of the page.");
    get("load").focus();
    return;
  }
  const { signal } = (working = new AbortController());
  show("error", false);
  show("result-actions", false);
  const pressed = document.activeElement === get("generate");
  hold(true);
  if (pressed) {
    get("cancel").focus({ preventScroll: true });
  }
  status("working", "Working on it.");
  if (matchMedia("(max-width: 879px)").matches) {
    get("result-pane").scrollIntoView({ block: "nearest" });
  }
  try {
    const chosen = controls.settings();
    const previewEvery = Math.max(1, Math.round(chosen.steps / 10));
    const request = { ...chosen, prompt: get("prompt").value, images: inputs.list(), previewEvery };
    await finish(await model.generate({ ...request, onStep: stepBar(), signal }), chosen.steps);
  } catch (error) {
    failed(error, signal);
  } finally {
    const focused = document.activeElement === get("cancel");
    working = null;
    hold(false);
    if (focused) {
      get("generate").focus({ preventScroll: true });
    }
  }
}

function failed(error, signal) {
  get("result").classList.toggle("stale", get("result").dataset.state === "preview");
  if (signal.aborted || error.name === "AbortError") {
    return status("cancelled", "Cancelled.");
  }
  status("error", "That did not work; the reason is shown with the result.", explain(get("error"), error));
}

async function finish({ images, seed, timings }, steps) {
  paint(images, false);
  engine.describe();
  const { text, encode, sample, decode, total } = timings;
  const parts = [
    `${duration(total)} in all`,
    `reading ${duration(text + encode)}`,
    `${steps} ${steps === 1 ? "step" : "steps"} in ${duration(sample)}`,
    `decoding ${duration(decode)}`,
    `seed ${seed}`,
  ];
  get("timings").textContent = parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" · ");
  get("timings").dataset.json = JSON.stringify({ seed, steps, timings });
  for (const [index, canvas] of [...get("result").querySelectorAll("canvas")].entries()) {
    canvas.parentElement.onclick = images.length > 1 ? () => choose(canvas, seed, index) : null;
  }
  await choose(get("result").querySelector("canvas"), seed, 0);
  show("result-actions", true);
  status("done", `Done in ${duration(total)}.`);
}

/** Draws the pictures, one canvas an output, and closes the bitmaps. Of several results each is a button. */
function paint(images, preview) {
  const result = get("result");
  const old = [...result.querySelectorAll("canvas")];
  const several = images.length > 1;
  const shown = images.map((image, index) => {
    const canvas = old[index] ?? document.createElement("canvas");
    Object.assign(canvas, { width: image.width, height: image.height });
    canvas.getContext("2d").drawImage(image, 0, 0);
    image.close();
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${preview ? "Preview" : "Result"}${several ? ` ${index + 1} of ${images.length}` : ""}`);
    if (preview || !several) {
      return canvas;
    }
    const button = Object.assign(document.createElement("button"), { type: "button", className: "choice" });
    button.append(canvas);
    return button;
  });
  result.classList.remove("stale");
  result.dataset.state = preview ? "preview" : "done";
  result.dataset.count = String(images.length);
  result.replaceChildren(...shown);
}

/** Makes one result the one to download and to go on with. */
async function choose(canvas, seed, index) {
  for (const button of get("result").querySelectorAll(".choice")) {
    button.setAttribute("aria-pressed", String(button.contains(canvas)));
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const name = index === 0 ? `unireal-${seed}.png` : `unireal-${seed}-${index + 1}.png`;
  const file = new File([blob], name, { type: "image/png" });
  const link = get("download");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(file);
  link.download = name;
  get("use-as-input").onclick = async () => {
    await inputs.edit(file);
    drawIdeas();
    get("prompt").focus();
    get("prompt").select();
    hint("The result is now the picture to edit.");
  };
}

get("cancel").addEventListener("click", () => working?.abort());
get("editor").addEventListener("submit", (event) => {
  event.preventDefault();
  generate();
});
addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    generate();
  } else if (event.key === "Escape") {
    working ? working.abort() : engine.stop();
  }
});

if (["auto", "webgpu", "cpu"].includes(query.get("device"))) {
  get("device").value = query.get("device");
}
controls.start();
drawIdeas();
drawExamples(new URL("./www/examples/examples.json", document.baseURI), inputs.only);
engine.start(query.get("pack") || "./www/models/tabletop/");
updates.start("./service-worker.js");
