/** The prompt: ideas that fill it, examples with an image, and image names at the cursor. */
import { chip } from "./view.js";
import { IDEAS, SAY } from "./words.js";

/** @param {import("./view.js").View} view */
export function prompts({ get, show, hint }) {
  /** Replaces the prompt. @param {string} text */
  function set(text) {
    get("prompt").value = text;
    get("prompt").dispatchEvent(new Event("input"));
  }

  /** Shows ideas below the prompt: those of the current task or image, or general ones. @param {readonly string[]} [ideas] */
  function drawIdeas(ideas = IDEAS) {
    get("ideas").replaceChildren(...ideas.map((text) => chip(text, () => set(text), SAY.useIdea(text))));
  }

  /** Inserts an image's name at the cursor. @param {string} name */
  function insertName(name) {
    const prompt = get("prompt");
    const { selectionStart: start, selectionEnd: end, value } = prompt;
    const space = (text, at) => (/\S/.test(text.at(at) ?? " ") ? " " : "");
    prompt.setRangeText(space(value.slice(0, start), -1) + name + space(value.slice(end), 0), start, end, "end");
    prompt.focus();
  }

  /**
   * Draws the examples: a card for each image with its first prompt; its other prompts become ideas once it is chosen. Without
   * examples, the section is hidden.
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
    /** @param {string} question label of the prompt @param {string} answer placeholder of the prompt */
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
