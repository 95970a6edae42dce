/** Before and after, one over the other, with a slider between them. */
import { MAX_SIDE } from "../pictures.js";
import { SAY } from "./words.js";

/** @param {import("./view.js").View} view */
export function comparison({ get, show }) {
  /** @type {Blob | null} */
  let before = null;
  /** @type {HTMLCanvasElement | null} */
  let after = null;
  /** Reading a picture takes a moment: only what was asked for last is shown. */
  let looks = 0;

  const isOn = () => get("compare-toggle").getAttribute("aria-pressed") === "true";

  function slide() {
    const range = get("compare-range");
    range.setAttribute("aria-valuetext", SAY.shares(Number(range.value)));
    // By the object model: a style attribute would need a laxer policy of the page.
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
        // The input may have many more pixels than the result: both are drawn in the shape of the result.
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
    /** @param {Blob | null} input what the result was made from @param {HTMLCanvasElement} result */
    offer(input, result) {
      [before, after] = [input, result];
      show("compare-toggle", input !== null);
      return draw();
    },

    /** Shows the result itself, as while it is being made; whether somebody wanted to compare is kept. */
    hide() {
      looks += 1;
      show("compare", false);
      show("result", true);
    },
  };
}
