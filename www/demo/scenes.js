/**
 * New scenes: renders an unseen tabletop scene in this tab as the image to edit, with its possible instructions. Shows
 * the renderer's ground truth beside the model's result.
 */
import { SCENE } from "./strings.js";

/** Side of a scene in pixels before the model is known, and the maximum (crates/tabletop/src/page.rs). Models scale their input. */
const DEFAULT_SIDE = 64;
const MAX_SIDE = 512;

/** @param {string} id @returns {any} */
const get = (id) => document.getElementById(id);

/**
 * @param {number} number of the scene
 * @param {number} side in pixels
 * @returns {Promise<{ image: File, groundTruths: Map<string, Promise<File>> }>} the scene, and promises of the ground
 *   truth by instruction
 */
function render(number, side) {
  const worker = new Worker(new URL("./scene-worker.js", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    const waiting = [];
    worker.onerror = (event) => {
      event.preventDefault();
      const error = new Error(event.message || "the renderer did not load");
      reject(error);
      waiting.forEach((groundTruth) => groundTruth.reject(error));
      worker.terminate();
    };
    worker.onmessage = ({ data: { image, instructions, groundTruth } }) => {
      if (image) {
        const groundTruths = new Map(instructions.map((text) => {
          const promise = new Promise((resolve, reject) => waiting.push({ resolve, reject }));
          // A ground truth that nobody awaits may reject.
          promise.catch(() => {});
          return [text, promise];
        }));
        resolve({ image, groundTruths });
      } else {
        waiting.shift().resolve(groundTruth);
      }
      if (waiting.length === 0) {
        worker.terminate();
      }
    };
    worker.postMessage({ number, side });
  });
}

/** Creates a figure of the ground truth with a caption. @param {File} file @param {string} prompt */
async function createFigure(file, prompt) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  image.alt = SCENE.groundTruthOf(prompt);
  // A decoded image stays visible without its URL.
  await image.decode().finally(() => URL.revokeObjectURL(image.src));
  const caption = Object.assign(document.createElement("figcaption"), { textContent: SCENE.groundTruth });
  const figure = Object.assign(document.createElement("figure"), { className: "ground-truth", slot: "beside" });
  figure.append(image, caption);
  return figure;
}

/** Creates the figure once its ground truth is rendered; returns null if that fails. */
async function tryCreateFigure({ file, prompt }) {
  try {
    return await createFigure(await file, prompt);
  } catch (error) {
    console.warn("UniReal: the ground truth cannot be shown:", error);
    return null;
  }
}

class Scenes {
  #editor;
  /** The ground truths of each scene by instruction, by the scene's image. @type {WeakMap<Blob, Map<string, Promise<File>>>} */
  #ofScene = new WeakMap();
  /** The ground truth of each result, by its file. @type {WeakMap<Blob, { file: Promise<File>, prompt: string }>} */
  #ofResult = new WeakMap();
  /** The result that is shown; a ground truth that arrives late for another one is dropped. @type {Blob | undefined} */
  #shown;

  /** @param {import("../editor.js").UniRealEditor} editor */
  constructor(editor) {
    this.#editor = editor;
    get("scene").addEventListener("click", () => this.#renderNew());
    editor.addEventListener("unireal-shown", ({ detail: { images } }) => {
      [this.#shown] = images;
      this.#draw();
    });
    editor.addEventListener("unireal-result", ({ detail }) => this.#onResult(detail));
  }

  async #renderNew() {
    get("scene").disabled = true;
    get("scene-status").textContent = SCENE.rendering;
    try {
      const [number] = crypto.getRandomValues(new Uint32Array(1));
      const { image, groundTruths } = await render(number, Math.min(this.#editor.sampleSize ?? DEFAULT_SIDE, MAX_SIDE));
      this.#ofScene.set(image, groundTruths);
      const instructions = [...groundTruths.keys()];
      this.#editor.images = [{ image, role: "canvas" }];
      this.#editor.ideas = instructions;
      this.#editor.prompt = instructions[0] ?? "";
      get("scene").dataset.number = String(number);
      get("scene-status").textContent = SCENE.ready(instructions.length);
    } catch (error) {
      console.warn("UniReal: the scene was not rendered:", error);
      get("scene-status").textContent = SCENE.failed;
    } finally {
      get("scene").disabled = false;
    }
  }

  /** Remembers the ground truth of a result whose request is an unchanged scene and one of its instructions. */
  #onResult({ images, inputs, request }) {
    const isScene = inputs.length === 1 && inputs[0].role === "canvas";
    const prompt = request.prompt.trim();
    const file = isScene ? this.#ofScene.get(inputs[0].image)?.get(prompt) : undefined;
    if (file) {
      this.#ofResult.set(images[0], { file, prompt });
      this.#draw();
    }
  }

  /** Shows the ground truth of the shown result, if there is one. */
  async #draw() {
    const shown = this.#shown;
    const groundTruth = shown && this.#ofResult.get(shown);
    const figure = groundTruth && (await tryCreateFigure(groundTruth));
    if (shown === this.#shown) {
      this.#editor.querySelector(".ground-truth")?.remove();
      this.#editor.append(...(figure ? [figure] : []));
    }
  }
}

/** @param {import("../editor.js").UniRealEditor} editor */
export function start(editor) {
  new Scenes(editor);
}
