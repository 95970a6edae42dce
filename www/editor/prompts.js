/** The prompt: ideas that fill it, examples that bring a picture along, and names of pictures at the cursor. */
import { chip } from "./view.js";
import { IDEAS, SAY } from "./words.js";

/** @param {import("./view.js").View} view */
export function prompts({ get, show, hint }) {
  /** Replaces the prompt. @param {string} text */
  function set(text) {
    get("prompt").value = text;
    get("prompt").dispatchEvent(new Event("input"));
  }

  /** Shows ideas below the prompt: those of the task or of the picture in use, or general ones. @param {readonly string[]} [ideas] */
  function drawIdeas(ideas = IDEAS) {
    get("ideas").replaceChildren(...ideas.map((text) => chip(text, () => set(text), SAY.useIdea(text))));
  }

  /** Writes a picture's name at the cursor. @param {string} name */
  function insertName(name) {
    const prompt = get("prompt");
    const { selectionStart: start, selectionEnd: end, value } = prompt;
    const space = (text, at) => (/\S/.test(text.at(at) ?? " ") ? " " : "");
    prompt.setRangeText(space(value.slice(0, start), -1) + name + space(value.slice(end), 0), start, end, "end");
    prompt.focus();
  }

  /**
   * Draws the examples, one card a picture with the first of its prompts; the others become ideas once it is chosen.
   * Where the host has no examples, the section stays hidden.
   * @param {URL} address of examples.json
   * @param {(picture: File) => Promise<void>} usePicture
   */
  async function drawExamples(address, usePicture) {
    const response = await fetch(address).catch(() => null);
    const entries = response?.ok ? await response.json().catch(() => []) : [];
    const use = async (file, texts) => {
      try {
        const answer = await fetch(new URL(file, address));
        if (!answer.ok) {
          throw new Error(`${file}: ${answer.status}`);
        }
        await usePicture(new File([await answer.blob()], file));
      } catch {
        get("picture-note").textContent = SAY.noExample;
        show("picture-note", true);
        return;
      }
      drawIdeas(texts);
      set(texts[0]);
      if (get("status").dataset.state === "ready") {
        hint(SAY.nowGenerate);
      }
    };
    const byImage = Map.groupBy(entries, ({ image }) => image);
    const items = [...byImage].map(([file, group]) => {
      const texts = group.map(({ prompt }) => prompt);
      const picture = Object.assign(new Image(64, 64), { src: new URL(file, address).href, alt: "" });
      const button = Object.assign(document.createElement("button"), { type: "button", className: "thumb" });
      button.setAttribute("aria-label", SAY.useExample(group[0].label || texts[0]));
      button.append(picture);
      button.addEventListener("click", () => use(file, texts));
      const item = document.createElement("li");
      item.append(button, chip(texts[0], () => use(file, texts)));
      return item;
    });
    get("examples").replaceChildren(...items);
    show("examples-section", items.length > 0);
  }

  drawIdeas();
  return {
    read: () => get("prompt").value,
    set,
    drawIdeas,
    insertName,
    drawExamples,
    /** @param {string} question above the prompt @param {string} answer shown where nothing was written yet */
    suggest(question, answer) {
      get("prompt-label").textContent = question;
      get("prompt").placeholder = answer;
    },
    select() {
      get("prompt").focus();
      get("prompt").select();
    },
  };
}
