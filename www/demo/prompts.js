/** The prompt: ideas that fill it, examples that bring a picture along, and names of pictures at the cursor. */
import { chip, get, hint, show } from "./page.js";
import { IDEAS } from "./words.js";

/** Replaces the prompt. @param {string} text */
function setPrompt(text) {
  get("prompt").value = text;
  get("prompt").dispatchEvent(new Event("input"));
}

/** Shows ideas below the prompt: those of the picture in use, or general ones. @param {string[]} [prompts] */
export function drawIdeas(prompts = IDEAS) {
  const chips = prompts.map((text) => chip(text, () => setPrompt(text), `Use the prompt: ${text}`));
  get("ideas").replaceChildren(...chips);
}

/** Writes a picture's name at the cursor. @param {string} name */
export function insertName(name) {
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
export async function drawExamples(address, usePicture) {
  const response = await fetch(address).catch(() => null);
  if (!response?.ok) {
    return;
  }
  const use = async (file, prompts) => {
    try {
      const answer = await fetch(new URL(file, address));
      if (!answer.ok) {
        throw new Error(`${file}: ${answer.status}`);
      }
      await usePicture(new File([await answer.blob()], file));
    } catch {
      get("picture-note").textContent = "The example could not be fetched; check the connection.";
      show("picture-note", true);
      return;
    }
    drawIdeas(prompts);
    setPrompt(prompts[0]);
    if (get("status").dataset.state === "ready") {
      hint("Now press Generate.");
    }
  };
  const byImage = Map.groupBy(await response.json(), ({ image }) => image);
  for (const [file, entries] of byImage) {
    const prompts = entries.map(({ prompt }) => prompt);
    const picture = Object.assign(new Image(64, 64), { src: new URL(file, address).href, alt: "" });
    const button = Object.assign(document.createElement("button"), { type: "button", className: "thumb" });
    button.setAttribute("aria-label", `Use this picture: ${entries[0].label || prompts[0]}`);
    button.append(picture);
    button.addEventListener("click", () => use(file, prompts));
    const item = document.createElement("li");
    item.append(button, chip(prompts[0], () => use(file, prompts)));
    get("examples").append(item);
  }
  show("examples-section", byImage.size > 0);
}
