/** The result: previews, the final images, and the actions on the chosen one. */
import { Comparison } from "./compare.js";
import { pngOf, save, sideBySide } from "./png.js";
import { MESSAGES, imageFailure, times } from "./strings.js";

/**
 * The images of a request in a form that the history can store. `before` is the image that was edited.
 * @typedef {{ images: { file: File, seed: number }[], chosen: number, steps: number,
 *   timings: import("../unireal.d.ts").Timings, before: Blob | null }} Result
 */

const fileName = (seed, index) => (index === 0 ? `unireal-${seed}.png` : `unireal-${seed}-${index + 1}.png`);

/** Names a canvas for screen readers. */
function label(canvas, preview, index, count) {
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", MESSAGES.resultLabel(preview, index + 1, count));
}

export class ResultPane {
  #view;
  #events;
  #comparison;
  /** @type {Result | null} */
  #result = null;

  /**
   * @param {import("./view.js").View} view
   * @param {{ onInput: (file: File) => void, onChoose: (seed: number) => void }} events callbacks for a result that becomes the
   *   next input, and for the seed of the one that is chosen among several
   */
  constructor(view, events) {
    this.#view = view;
    this.#events = events;
    this.#comparison = new Comparison(view);
    const { get } = view;
    get("use-as-input").addEventListener("click", () => events.onInput(this.#chosenFile()));
    get("copy").addEventListener("click", () => this.#copy());
    get("save-both").addEventListener("click", () => this.#saveBoth());
  }

  /** Hides the actions of the last result when a request begins. */
  begin() {
    const { show, emit } = this.#view;
    this.#comparison.hide();
    show("error", false);
    show("result-actions", false);
    emit("shown", { images: [] });
  }

  /**
   * Draws images, a canvas each, and closes the bitmaps; the first `offset` canvases stay.
   * @param {ImageBitmap[]} images
   * @param {{ preview?: boolean, offset?: number, count?: number }} [options] `count` is the number of images of the request
   */
  paint(images, { preview = false, offset = 0, count = offset + images.length } = {}) {
    this.#comparison.hide();
    const old = this.#canvases();
    const drawn = images.map((image, index) => {
      const canvas = old[offset + index] ?? document.createElement("canvas");
      Object.assign(canvas, { width: image.width, height: image.height });
      canvas.getContext("2d").drawImage(image, 0, 0);
      image.close();
      label(canvas, preview, offset + index, count);
      return canvas;
    });
    this.#arrange([...old.slice(0, offset), ...drawn], preview ? "preview" : "done");
  }

  /** Marks a preview that remains after a failed request as stale. */
  abandon() {
    const result = this.#view.get("result");
    result.classList.toggle("stale", result.dataset.state === "preview");
  }

  /**
   * Stores the painted images as PNG files and shows the actions for them.
   * @param {{ seeds: number[], steps: number, timings: import("../unireal.d.ts").Timings, before: Blob | null }} facts
   * @returns {Promise<Result>}
   */
  async finish({ seeds, steps, timings, before }) {
    const canvases = this.#canvases().slice(0, seeds.length);
    this.#arrange(canvases, "done");
    const images = await Promise.all(canvases.map(async (canvas, index) => {
      label(canvas, false, index, canvases.length);
      const seed = seeds[index];
      return { file: await pngOf(canvas, fileName(seed, index - seeds.indexOf(seed))), seed };
    }));
    const result = { images, chosen: 0, steps, timings, before };
    this.#show(result);
    return result;
  }

  /** Shows a result of the history; null shows none. @param {Result | null} result */
  async restore(result) {
    this.#view.show("error", false);
    if (result) {
      this.paint(await Promise.all(result.images.map(({ file }) => createImageBitmap(file))));
      this.#show(result);
    }
  }

  #canvases() {
    return [...this.#view.get("result").querySelectorAll("canvas")];
  }

  /** The result that is shown. Its actions are hidden while there is none. */
  get #shown() {
    return /** @type {Result} */ (this.#result);
  }

  #chosenFile() {
    const { images, chosen } = this.#shown;
    return images[chosen].file;
  }

  /** Replaces the content of the pane. @param {HTMLElement[]} elements @param {"preview" | "done"} state */
  #arrange(elements, state) {
    const result = this.#view.get("result");
    result.classList.remove("stale");
    result.dataset.state = state;
    result.dataset.count = String(elements.length);
    result.replaceChildren(...elements);
  }

  /** @param {Result} result */
  #show(result) {
    const { show, emit } = this.#view;
    this.#result = result;
    this.#makeChoices();
    this.#choose(result.chosen);
    show("save-both", result.before !== null);
    show("result-actions", true);
    emit("shown", { images: result.images.map(({ file }) => file) });
  }

  /** Makes each of several results a button. */
  #makeChoices() {
    const canvases = this.#canvases();
    if (canvases.length > 1) {
      this.#arrange(canvases.map((canvas, index) => {
        const button = Object.assign(document.createElement("button"), { type: "button", className: "choice" });
        button.append(canvas);
        button.addEventListener("click", () => this.#choose(index));
        return button;
      }), "done");
    }
  }

  /** Selects the result for the download and the other actions. */
  #choose(index) {
    const { get } = this.#view;
    const { images, steps, timings, before } = this.#shown;
    this.#shown.chosen = index;
    for (const [at, button] of [...get("result").querySelectorAll(".choice")].entries()) {
      button.setAttribute("aria-pressed", String(at === index));
    }
    const { file, seed } = images[index];
    const link = get("download");
    URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(file);
    link.download = file.name;
    get("timings").textContent = times(timings, steps, seed);
    get("timings").dataset.json = JSON.stringify({ seed, steps, timings });
    this.#comparison.offer(before, this.#canvases()[index]);
    if (images.length > 1) {
      this.#events.onChoose(seed);
    }
  }

  async #copy() {
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": this.#chosenFile() })]);
      this.#view.hint(MESSAGES.copied);
    } catch (error) {
      console.warn("UniReal: the image was not copied:", error);
      this.#view.hint(MESSAGES.notCopied);
    }
  }

  async #saveBoth() {
    const { before } = this.#shown;
    const file = this.#chosenFile();
    try {
      if (before) {
        save(await sideBySide(before, file, file.name.replace(/\.png$/, "-before-after.png")));
      }
    } catch (error) {
      console.warn("UniReal: the images were not saved:", error);
      this.#view.hint(imageFailure(error));
    }
  }
}
