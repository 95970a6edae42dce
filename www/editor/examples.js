/** Examples: a card for each image with its first prompt; its other prompts become ideas once it is chosen. */
import { chip } from "./view.js";
import { MESSAGES } from "./strings.js";

/** Returns the entries of an examples.json, or an empty list if it cannot be read. */
async function readList(address) {
  const response = await fetch(address).catch(() => null);
  return response?.ok ? response.json().catch(() => []) : [];
}

async function readImage(address, name) {
  const response = await fetch(address);
  if (!response.ok) {
    throw new Error(`${address}: ${response.status}`);
  }
  return new File([await response.blob()], name);
}

function thumbnailButton(address, label, onClick) {
  const image = Object.assign(new Image(64, 64), { src: address.href, alt: "" });
  const button = Object.assign(document.createElement("button"), { type: "button", className: "thumb" });
  button.setAttribute("aria-label", label);
  button.append(image);
  button.addEventListener("click", onClick);
  return button;
}

/**
 * Draws the examples. Without examples, the section is hidden.
 * @param {import("./view.js").View} view
 * @param {{ drawIdeas: (ideas: string[]) => void, set: (prompt: string) => void }} prompts
 * @param {URL} address of examples.json
 * @param {(image: File) => Promise<void>} useImage
 */
export async function drawExamples({ get, show, hint }, prompts, address, useImage) {
  async function use(name, texts) {
    try {
      await useImage(await readImage(new URL(name, address), name));
    } catch {
      get("image-note").textContent = MESSAGES.noExample;
      show("image-note", true);
      return;
    }
    prompts.drawIdeas(texts);
    prompts.set(texts[0]);
    if (get("status").dataset.state === "ready") {
      hint(MESSAGES.nowGenerate);
    }
  }

  const byImage = Map.groupBy(await readList(address), ({ image }) => image);
  const items = [...byImage].map(([name, group]) => {
    const texts = group.map(({ prompt }) => prompt);
    const onClick = () => use(name, texts);
    const item = document.createElement("li");
    const label = MESSAGES.useExample(group[0].label || texts[0]);
    item.append(thumbnailButton(new URL(name, address), label, onClick), chip(texts[0], onClick));
    return item;
  });
  get("examples").replaceChildren(...items);
  show("examples-section", items.length > 0);
}
