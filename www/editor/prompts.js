/** The prompt: ideas that fill it, and image names at the cursor. */
import { chip } from "./view.js";
import { IDEAS, MESSAGES } from "./strings.js";

/** @param {import("./view.js").View} view */
export function prompts({ get }) {
  /** Replaces the prompt. @param {string} text */
  function set(text) {
    get("prompt").value = text;
    get("prompt").dispatchEvent(new Event("input"));
  }

  /** Shows ideas below the prompt: those of the current task or image, or general ones. @param {readonly string[]} [ideas] */
  function drawIdeas(ideas = IDEAS) {
    get("ideas").replaceChildren(...ideas.map((text) => chip(text, () => set(text), MESSAGES.useIdea(text))));
  }

  /** Inserts an image's name at the cursor. @param {string} name */
  function insertName(name) {
    const prompt = get("prompt");
    const { selectionStart: start, selectionEnd: end, value } = prompt;
    const space = (text, at) => (/\S/.test(text.at(at) ?? " ") ? " " : "");
    prompt.setRangeText(space(value.slice(0, start), -1) + name + space(value.slice(end), 0), start, end, "end");
    prompt.focus();
  }

  drawIdeas();
  return {
    read: () => get("prompt").value,
    set,
    drawIdeas,
    insertName,
    /** @param {string} question label of the prompt @param {string} example placeholder of the prompt */
    suggest(question, example) {
      get("prompt-label").textContent = question;
      get("prompt").placeholder = example;
    },
    select() {
      get("prompt").focus();
      get("prompt").select();
    },
  };
}
