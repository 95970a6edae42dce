/** A before/after comparison with a slider. */
import { MAX_SIDE } from "../pictures.js";
import { SAY } from "./words.js";

/** @param {import("./view.js").View} view */
export function comparison({ get, show }) {
  /** @type {Blob | null} */
  let before = null;
  /** @type {HTMLCanvasElement | null} */
  let after = null;
  /** Number of draws so far. Decoding is asynchronous, and only the latest draw is shown. */
  let looks = 0;

  const isOn = () => get("compare-toggle").getAttribute("aria-pressed") === "true";

  function slide() {
    const range = get("compare-range");
    range.setAttribute("aria-valuetext", SAY.shares(Number(range.value)));
    // Set through the CSSOM, because a style attribute would need a laxer content security policy.
    get("compare").style.setProperty("--split", `${100 - range.value}%`);
  }

  async function draw() {
    const own = (looks += 1);
    const on = isOn() && before !== null;
    if (on) {
      const picture = await createImageBitmap(before);
      if (own !== looks) {
        return picture.close();
      }
      const { width, height } = after;
      for (const [id, source] of [["compare-before", picture], ["compare-after", after]]) {
        const canvas = get(id);
        // The input may have more pixels than the result: draw both in the result's aspect ratio.
        const scale = Math.max(1, Math.min(MAX_SIDE, Math.max(picture.width, picture.height)) / Math.max(width, height));
        Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
        canvas.getContext("2d").imageSmoothingQuality = "high";
        canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
      }
      picture.close();
      get("compare").style.setProperty("--shape", String(width / height));
    }
    show("compare", on);
    show("result", !on);
  }

  get("compare-range").addEventListener("input", slide);
  get("compare-toggle").addEventListener("click", () => {
    get("compare-toggle").setAttribute("aria-pressed", String(!isOn()));
    draw();
  });
  slide();

  return {
    /** @param {Blob | null} input the canvas image of the request @param {HTMLCanvasElement} result */
    offer(input, result) {
      [before, after] = [input, result];
      show("compare-toggle", input !== null);
      return draw();
    },

    /** Shows the result itself, for example while a request runs. Keeps the state of the toggle. */
    hide() {
      looks += 1;
      show("compare", false);
      show("result", true);
    },
  };
}
