/** A before/after comparison with a slider. */
import { MAX_SIDE } from "../images.js";
import { MESSAGES } from "./strings.js";

export class Comparison {
  #view;
  /** @type {Blob | null} */
  #before = null;
  /** @type {HTMLCanvasElement | null} */
  #after = null;
  /** Number of draws so far. Decoding is asynchronous, and only the latest draw is shown. */
  #draws = 0;

  /** @param {import("./view.js").View} view */
  constructor(view) {
    this.#view = view;
    view.get("compare-range").addEventListener("input", () => this.#slide());
    view.get("compare-toggle").addEventListener("click", () => {
      view.get("compare-toggle").setAttribute("aria-pressed", String(!this.#isOn()));
      this.#draw();
    });
    this.#slide();
  }

  /** @param {Blob | null} before the canvas image of the request @param {HTMLCanvasElement} after the result */
  offer(before, after) {
    [this.#before, this.#after] = [before, after];
    this.#view.show("compare-toggle", before !== null);
    return this.#draw();
  }

  /** Shows the result itself, for example while a request runs. The toggle keeps its state. */
  hide() {
    this.#draws += 1;
    this.#view.show("compare", false);
    this.#view.show("result", true);
  }

  #isOn() {
    return this.#view.get("compare-toggle").getAttribute("aria-pressed") === "true";
  }

  #slide() {
    const { get } = this.#view;
    const range = get("compare-range");
    range.setAttribute("aria-valuetext", MESSAGES.shares(Number(range.value)));
    // Set through the CSSOM, because a style attribute would need a laxer content security policy.
    get("compare").style.setProperty("--split", `${100 - range.value}%`);
  }

  async #draw() {
    const draw = (this.#draws += 1);
    const image = this.#isOn() ? this.#before : null;
    if (image) {
      const before = await createImageBitmap(image);
      if (draw !== this.#draws) {
        before.close();
        return;
      }
      this.#paint(before, this.#after);
      before.close();
    }
    this.#view.show("compare", image !== null);
    this.#view.show("result", image === null);
  }

  /** Draws both images in the result's aspect ratio, at the larger size of the two. */
  #paint(before, after) {
    const { get } = this.#view;
    const { width, height } = after;
    const scale = Math.max(1, Math.min(MAX_SIDE, Math.max(before.width, before.height)) / Math.max(width, height));
    for (const [id, source] of [["compare-before", before], ["compare-after", after]]) {
      const canvas = get(id);
      Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
      canvas.getContext("2d").imageSmoothingQuality = "high";
      canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
    }
    get("compare").style.setProperty("--shape", String(width / height));
  }
}
