/**
 * New scenes: renders an unseen tabletop scene in this tab as the image to edit, with its possible instructions. Shows
 * the renderer's ground truth beside the model's result.
 */
import { SCENE } from "./words.js";

/** Side of a scene in pixels before the model is known, and the maximum (crates/tabletop/src/page.rs). Models scale their input. */
const USUAL_SIDE = 64;
const MOST = 512;

/** @param {string} id @returns {any} */
const get = (id) => document.getElementById(id);

/**
 * @param {number} number of the scene
 * @param {number} side in pixels
 * @returns {Promise<{ picture: File, answers: Map<string, Promise<File>> }>} the scene, and promises of the ground
 * truth by instruction
 */
function render(number, side) {
  const worker = new Worker(new URL("./scene-worker.js", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    const waiting = [];
    worker.onerror = (event) => {
      event.preventDefault();
      const error = new Error(event.message || "its code did not load");
      reject(error);
      waiting.forEach((answer) => answer.reject(error));
      worker.terminate();
    };
    worker.onmessage = ({ data: { picture, instructions, answer } }) => {
      if (picture) {
        const answers = new Map(instructions.map((text) => {
          const promise = new Promise((resolve, reject) => waiting.push({ resolve, reject }));
          // An answer that nobody awaits may reject.
          promise.catch(() => {});
          return [text, promise];
        }));
        resolve({ picture, answers });
      } else {
        waiting.shift().resolve(answer);
      }
      if (waiting.length === 0) {
        worker.terminate();
      }
    };
    worker.postMessage({ number, side });
  });
}

/** Creates a figure of the ground truth with a caption. @param {File} file @param {string} prompt */
async function figure(file, prompt) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  image.alt = SCENE.answerTo(prompt);
  // A decoded image stays visible without its URL.
  await image.decode().finally(() => URL.revokeObjectURL(image.src));
  const caption = Object.assign(document.createElement("figcaption"), { textContent: SCENE.answer });
  const made = Object.assign(document.createElement("figure"), { className: "truth", slot: "beside" });
  made.append(image, caption);
  return made;
}

/** @param {import("../editor.js").UniRealEditor} editor */
export function start(editor) {
  /** The ground truths of each scene, by its image. @type {WeakMap<Blob, Map<string, Promise<File>>>} */
  const scenes = new WeakMap();
  /** The ground truth of each result, by its file. @type {WeakMap<Blob, { answer: Promise<File>, prompt: string }>} */
  const truths = new WeakMap();
  /** The result that is shown; a ground truth that arrives late for another one is dropped. @type {Blob | undefined} */
  let shown;

  async function make() {
    get("scene").disabled = true;
    get("scene-status").textContent = SCENE.making;
    try {
      const [number] = crypto.getRandomValues(new Uint32Array(1));
      const { picture, answers } = await render(number, Math.min(editor.sampleSize ?? USUAL_SIDE, MOST));
      scenes.set(picture, answers);
      const instructions = [...answers.keys()];
      editor.images = [{ image: picture, role: "canvas" }];
      editor.ideas = instructions;
      editor.prompt = instructions[0] ?? "";
      get("scene").dataset.number = String(number);
      get("scene-status").textContent = SCENE.made(instructions.length);
    } catch (error) {
      console.warn("UniReal: no scene:", error);
      get("scene-status").textContent = SCENE.failed;
    } finally {
      get("scene").disabled = false;
    }
  }

  async function show() {
    const result = shown;
    const truth = result && truths.get(result);
    const made = truth && (await truth.answer.then((file) => figure(file, truth.prompt)).catch((error) => {
      console.warn("UniReal: no true answer:", error);
      return null;
    }));
    if (result === shown) {
      editor.querySelector(".truth")?.remove();
      editor.append(...(made ? [made] : []));
    }
  }

  get("scene").addEventListener("click", make);
  editor.addEventListener("unireal-shown", ({ detail: { images } }) => {
    shown = images[0];
    show();
  });
  editor.addEventListener("unireal-result", ({ detail: { images, inputs, request } }) => {
    const answers = inputs.length === 1 && inputs[0].role === "canvas" ? scenes.get(inputs[0].image) : null;
    const prompt = request.prompt.trim();
    const answer = answers?.get(prompt);
    if (answer) {
      truths.set(images[0], { answer, prompt });
      show();
    }
  });
}
