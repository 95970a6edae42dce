/** The result: previews, the final images, and the actions on the chosen one. */
import { comparison } from "./compare.js";
import { pngOf, save, sideBySide } from "./png.js";
import { SAY, times } from "./words.js";

/**
 * The images of a request in a form that the history can store.
 * @typedef {{ pictures: { file: File, seed: number }[], chosen: number, steps: number,
 *   timings: import("../unireal.d.ts").Timings, before: Blob | null }} Result
 */

const fileName = (seed, index) => (index === 0 ? `unireal-${seed}.png` : `unireal-${seed}-${index + 1}.png`);

/**
 * @param {import("./view.js").View} view
 * @param {{ onInput: (file: File) => void, onChoose: (seed: number) => void }} options callbacks for a result that becomes the
 * next input, and for the seed of the one that is chosen among several
 */
export function results(view, { onInput, onChoose }) {
  const { get, show, hint, emit } = view;
  /** @type {Result | null} */
  let shown = null;
  const compare = comparison(view);

  const canvases = () => [...get("result").querySelectorAll("canvas")];
  const chosen = () => shown.pictures[shown.chosen].file;

  function label(canvas, preview, index, count) {
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", SAY.picture(preview, index + 1, count));
  }

  function lay(all, state) {
    const result = get("result");
    result.classList.remove("stale");
    result.dataset.state = state;
    result.dataset.count = String(all.length);
    result.replaceChildren(...all);
  }

  /** Draws images, a canvas each, and closes the bitmaps; the first `kept` canvases stay. @param {ImageBitmap[]} images */
  function paint(images, { preview = false, kept = 0, count = kept + images.length } = {}) {
    compare.hide();
    const old = canvases();
    const drawn = images.map((image, index) => {
      const canvas = old[kept + index] ?? document.createElement("canvas");
      Object.assign(canvas, { width: image.width, height: image.height });
      canvas.getContext("2d").drawImage(image, 0, 0);
      image.close();
      label(canvas, preview, kept + index, count);
      return canvas;
    });
    lay([...old.slice(0, kept), ...drawn], preview ? "preview" : "done");
  }

  /** Makes each of several results a button. */
  function offer() {
    const all = canvases();
    if (all.length > 1) {
      lay(all.map((canvas, index) => {
        const button = Object.assign(document.createElement("button"), { type: "button", className: "choice" });
        button.append(canvas);
        button.addEventListener("click", () => choose(index));
        return button;
      }), "done");
    }
  }

  /** Selects the result for the download and the other actions. */
  function choose(index) {
    shown.chosen = index;
    for (const [at, button] of [...get("result").querySelectorAll(".choice")].entries()) {
      button.setAttribute("aria-pressed", String(at === index));
    }
    const { file, seed } = shown.pictures[index];
    const link = get("download");
    URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(file);
    link.download = file.name;
    get("timings").textContent = times(shown.timings, shown.steps, seed);
    get("timings").dataset.json = JSON.stringify({ seed, steps: shown.steps, timings: shown.timings });
    compare.offer(shown.before, canvases()[index]);
    if (shown.pictures.length > 1) {
      onChoose(seed);
    }
  }

  async function copy() {
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": chosen() })]);
      hint(SAY.copied);
    } catch (error) {
      console.warn("UniReal: not copied:", error);
      hint(SAY.notCopied);
    }
  }

  async function saveBoth() {
    try {
      save(await sideBySide(shown.before, chosen(), chosen().name.replace(/\.png$/, "-before-after.png")));
    } catch (error) {
      console.warn("UniReal: not saved:", error);
      hint(SAY.notSaved);
    }
  }

  get("use-as-input").addEventListener("click", () => onInput(chosen()));
  get("copy").addEventListener("click", copy);
  get("save-both").addEventListener("click", saveBoth);

  function finish(made) {
    shown = made;
    offer();
    choose(made.chosen);
    show("save-both", made.before !== null);
    show("result-actions", true);
    emit("shown", { images: made.pictures.map(({ file }) => file) });
  }

  return {
    paint,

    /** Hides the actions of the last result when a request begins. */
    begin() {
      compare.hide();
      show("error", false);
      show("result-actions", false);
      emit("shown", { images: [] });
    },

    /** Marks a preview that remains after a failed request as stale. */
    abandon() {
      get("result").classList.toggle("stale", get("result").dataset.state === "preview");
    },

    /**
     * Stores the painted images as PNG files and shows the actions for them.
     * @param {{ seeds: number[], steps: number, timings: import("../unireal.d.ts").Timings, before: Blob | null }} facts
     * @returns {Promise<Result>}
     */
    async finish({ seeds, steps, timings, before }) {
      const all = canvases().slice(0, seeds.length);
      lay(all, "done");
      const pictures = await Promise.all(all.map(async (canvas, index) => {
        label(canvas, false, index, all.length);
        const seed = seeds[index];
        return { file: await pngOf(canvas, fileName(seed, index - seeds.indexOf(seed))), seed };
      }));
      finish({ pictures, chosen: 0, steps, timings, before });
      return shown;
    },

    /** Shows a result of the history; null shows none. @param {Result | null} result */
    async restore(result) {
      show("error", false);
      if (!result) {
        return;
      }
      paint(await Promise.all(result.pictures.map(({ file }) => createImageBitmap(file))));
      finish(result);
    },
  };
}
