/** The input pictures of the demo: choosing, dropping, pasting, ordering, roles. */
import { get } from "./page.js";

const MOST = 10;

/**
 * @typedef {{ file: Blob, role: import("../unireal.d.ts").Role, element: HTMLElement, url: string }} Slot
 */

/** @param {{ onName: (name: string) => void }} options what a press on a picture's name does */
export function pictures({ onName }) {
  /** @type {Slot[]} */
  let slots = [];
  const note = get("picture-note");

  function say(text) {
    note.textContent = text;
    note.hidden = !text;
  }

  /** A picture that the browser can decode, or null. The engine's decoder is the same one. */
  async function size(file) {
    try {
      const bitmap = await createImageBitmap(file);
      const { width, height } = bitmap;
      bitmap.close();
      return { width, height };
    } catch {
      return null;
    }
  }

  async function slot(file, role) {
    const found = await size(file);
    if (!found) {
      return null;
    }
    const element = get("slot-template").content.firstElementChild.cloneNode(true);
    const url = URL.createObjectURL(file);
    const image = element.querySelector("img");
    image.src = url;
    image.width = found.width;
    image.height = found.height;
    const made = { file, role, element, url };
    const select = element.querySelector(".role");
    select.value = role;
    select.addEventListener("change", () => {
      made.role = select.value;
      name();
    });
    element.querySelector(".name").addEventListener("click", () => onName(nameOf(made)));
    element.querySelector(".remove").addEventListener("click", () => remove(made));
    element.querySelector(".earlier").addEventListener("click", () => earlier(made));
    return made;
  }

  const nameOf = (one) => `IMG${slots.indexOf(one) + 1}`;

  /** Names follow from the order; elements stay where they are, and so does the focus. */
  function name() {
    for (const one of slots) {
      const name = nameOf(one);
      const part = (selector) => one.element.querySelector(selector);
      part("img").alt = `${name}, ${one.role}`;
      part(".name").textContent = name;
      part(".name").title = `Write ${name} into the prompt`;
      part(".name").setAttribute("aria-label", `${name}: write it into the prompt`);
      part(".role").setAttribute("aria-label", `Role of ${name}`);
      part(".remove").setAttribute("aria-label", `Remove ${name}`);
      part(".remove").title = `Remove ${name}`;
      const before = `Move ${name} one place earlier`;
      part(".earlier").setAttribute("aria-label", before);
      part(".earlier").title = before;
      part(".earlier").hidden = one === slots[0];
    }
  }

  function draw() {
    name();
    get("slots").replaceChildren(...slots.map(({ element }) => element));
    get("slots").dataset.count = String(slots.length);
    get("drop").hidden = slots.length > 0;
    get("add").hidden = slots.length === 0 || slots.length >= MOST;
    get("pictures-title").textContent = slots.length > 1 ? "Your pictures" : "Your picture";
  }

  function remove(one) {
    URL.revokeObjectURL(one.url);
    const at = slots.indexOf(one);
    slots.splice(at, 1);
    say("");
    draw();
    // Focus stays in the list, not at the top of the page.
    (slots[Math.min(at, slots.length - 1)]?.element.querySelector(".remove") ?? get("file")).focus();
  }

  function earlier(one) {
    const at = slots.indexOf(one);
    slots.splice(at, 1);
    slots.splice(at - 1, 0, one);
    draw();
    const button = one.element.querySelector(".earlier");
    (button.hidden ? one.element.querySelector(".name") : button).focus();
  }

  /** Adds files after the ones there; the first picture of all is the canvas. */
  async function add(files) {
    say("");
    for (const file of files) {
      if (slots.length >= MOST) {
        say(`${MOST} pictures are the most that a prompt can name.`);
        break;
      }
      const made = await slot(file, slots.length === 0 ? "canvas" : "asset");
      if (made) {
        slots.push(made);
      } else {
        say(`${file.name || "What was given"} is not a picture that this browser can read.`);
      }
    }
    draw();
  }

  /** Puts a picture in the place of the first canvas, or first. */
  async function edit(file) {
    const made = await slot(file, "canvas");
    const at = slots.findIndex(({ role }) => role === "canvas");
    if (at < 0) {
      slots.unshift(made);
    } else {
      URL.revokeObjectURL(slots[at].url);
      slots[at] = made;
    }
    slots = slots.slice(0, MOST);
    draw();
  }

  /** Starts over with one canvas. */
  async function only(file) {
    slots.splice(0).forEach(({ url }) => URL.revokeObjectURL(url));
    await add([file]);
  }

  listen(add);
  draw();
  return { edit, only, list: () => slots.map(({ file, role }) => ({ image: file, role })) };
}

/** Choosing, dropping anywhere on the page, pasting. */
function listen(add) {
  const input = get("file");
  input.addEventListener("change", () => {
    // The list is live: it must be copied before the input is emptied, so that the same file can be chosen again.
    const files = [...input.files];
    input.value = "";
    add(files);
  });

  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0;
  const veil = (change) => {
    depth = Math.max(0, depth + change);
    get("drop-veil").hidden = depth === 0;
  };
  addEventListener("dragenter", (event) => carries(event) && veil(1));
  addEventListener("dragleave", (event) => carries(event) && veil(-1));
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (carries(event)) {
      event.preventDefault();
      veil(-depth);
      add([...event.dataTransfer.files]);
    }
  });

  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter(({ type }) => type.startsWith("image/"));
    if (files.length > 0) {
      event.preventDefault();
      add(files);
    }
  });
}
