/** The input pictures: choosing, dropping, pasting, ordering, roles. */
import { draggable } from "./drag.js";
import { blobOf } from "./png.js";
import { SAY } from "./words.js";

/** Pictures that a prompt can name. */
export const MOST = 10;

/**
 * @typedef {import("../unireal.d.ts").Role} Role
 * @typedef {{ image: Blob, role: Role }} Picture
 * @typedef {{ file: Blob, role: Role, element: HTMLElement }} Slot
 */

/** A picture that the browser can decode, or null. The engine's decoder is the same one. */
async function sizeOf(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const { width, height } = bitmap;
    bitmap.close();
    return { width, height };
  } catch {
    return null;
  }
}

/**
 * @param {import("./view.js").View} view
 * @param {{ onName: (name: string) => void, onChange: () => void }} options what a press on a picture's name does, and
 *   who is told when pictures or roles have changed
 */
export function pictures({ get, hint }, { onName, onChange }) {
  /** @type {Slot[]} */
  let slots = [];
  /** The role of the picture that comes at a place. @type {(place: number) => Role} */
  let roleAt = (place) => (place === 0 ? "canvas" : "asset");
  /** Decoding takes a moment: changes follow each other, so that two at once lose nothing. */
  let queue = Promise.resolve();

  const inTurn = (work) => (queue = queue.then(work, work));

  function say(text) {
    get("picture-note").textContent = text;
    get("picture-note").hidden = !text;
  }

  async function slot(file, role) {
    const found = await sizeOf(file);
    if (!found) {
      return null;
    }
    const element = get("slot-template").content.firstElementChild.cloneNode(true);
    const url = URL.createObjectURL(file);
    const image = element.querySelector("img");
    Object.assign(image, found, { src: url });
    // What is decoded stays on the page without its address.
    image.decode().catch(() => {}).finally(() => URL.revokeObjectURL(url));
    const made = { file, role, element };
    const select = element.querySelector(".role");
    select.addEventListener("change", () => {
      made.role = select.value;
      name();
      onChange();
    });
    element.querySelector(".name").addEventListener("click", () => onName(nameOf(made)));
    element.querySelector(".remove").addEventListener("click", () => remove(made));
    element.querySelector(".earlier").addEventListener("click", () => earlier(made));
    draggable(element.querySelector(".handle"), {
      element,
      others: () => slots.map((one) => one.element),
      onDrop: (place) => move(made, place),
    });
    return made;
  }

  const nameOf = (one) => `IMG${slots.indexOf(one) + 1}`;

  /** Names follow from the order; elements stay where they are, and so does the focus. */
  function name() {
    for (const one of slots) {
      const name = nameOf(one);
      const part = (selector) => one.element.querySelector(selector);
      const label = (selector, text) => {
        part(selector).setAttribute("aria-label", text);
        part(selector).title = text;
      };
      part("img").alt = `${name}, ${one.role}`;
      part(".role").value = one.role;
      part(".role").setAttribute("aria-label", SAY.role(name));
      part(".name").textContent = name;
      part(".name").title = SAY.writeName(name);
      part(".name").setAttribute("aria-label", SAY.writeNameLabel(name));
      part(".handle-text").textContent = one.role;
      part(".handle").title = SAY.drag(name);
      label(".remove", SAY.remove(name));
      label(".earlier", SAY.earlier(name));
      part(".earlier").hidden = one === slots[0];
    }
  }

  function draw() {
    name();
    get("slots").replaceChildren(...slots.map(({ element }) => element));
    get("slots").dataset.count = String(slots.length);
    get("drop").hidden = slots.length > 0;
    get("add").hidden = slots.length === 0 || slots.length >= MOST;
    get("pictures-title").textContent = slots.length > 1 ? SAY.pictures : SAY.onePicture;
    onChange();
  }

  function remove(one) {
    const at = slots.indexOf(one);
    slots.splice(at, 1);
    say("");
    draw();
    // Focus stays in the list, not at the top of the page.
    (slots[Math.min(at, slots.length - 1)]?.element.querySelector(".remove") ?? get("file")).focus();
  }

  function move(one, place) {
    const at = slots.indexOf(one);
    if (at < 0 || at === place) {
      return;
    }
    slots.splice(at, 1);
    slots.splice(place, 0, one);
    draw();
    hint(SAY.moved(nameOf(one), one.role));
  }

  function earlier(one) {
    move(one, slots.indexOf(one) - 1);
    const button = one.element.querySelector(".earlier");
    (button.hidden ? one.element.querySelector(".name") : button).focus();
  }

  /** Adds files after the ones there. */
  const add = (files) => inTurn(async () => {
    say("");
    for (const file of files) {
      if (slots.length >= MOST) {
        say(SAY.mostPictures(MOST));
        break;
      }
      const made = await slot(file, roleAt(slots.length));
      if (made) {
        slots.push(made);
      } else {
        say(SAY.notAPicture(file.name));
      }
    }
    draw();
  });

  /** Exactly these pictures; those that are here already keep their elements. @param {readonly Picture[]} list */
  async function take(list) {
    const left = [...slots];
    const next = [];
    for (const { image, role } of list.slice(0, MOST)) {
      const at = left.findIndex(({ file }) => file === image);
      const made = at < 0 ? await slot(image, role) : Object.assign(left.splice(at, 1)[0], { role });
      if (made) {
        next.push(made);
      } else {
        say(SAY.notAPicture(image.name));
      }
    }
    slots = next;
    draw();
  }

  /** Any form of picture as one that can be kept; what cannot be read is said and left out. */
  async function keepable({ image, role }) {
    try {
      return { image: await blobOf(image), role };
    } catch {
      say(typeof image === "string" || image instanceof URL ? SAY.notFetched(image) : SAY.notAPicture(""));
      return null;
    }
  }

  const put = (list) => inTurn(() => take(list));
  const list = () => slots.map(({ file, role }) => ({ image: file, role }));
  listen(get("file"), add);
  draw();

  return {
    add,
    put,
    list,
    /** Resolves when every picture that was given is here. */
    settled: () => queue,
    /** Starts over with one picture. @param {Blob} file */
    only: (file) => (say(""), put([{ image: file, role: roleAt(0) }])),

    /** Puts a picture in the place of the first of a role, or at a place. @param {Blob} file @param {Role} role @param {number} place */
    async replace(file, role, place) {
      await queue;
      const next = list();
      const at = next.findIndex((one) => one.role === role);
      next.splice(at < 0 ? place : at, at < 0 ? 0 : 1, { image: file, role });
      await put(next);
    },

    /** What a page gives: any form of picture. @param {readonly import("../unireal.d.ts").InputImage[]} given */
    give: (given) => inTurn(async () => {
      say("");
      await take((await Promise.all(given.map(keepable))).filter(Boolean));
    }),

    /** @param {(place: number) => Role} given the role of the picture that comes at a place */
    expect(given) {
      roleAt = given;
    },
  };
}

/** Choosing by the file dialog. */
function listen(input, add) {
  input.addEventListener("change", () => {
    // The list is live: it must be copied before the input is emptied, so that the same file can be chosen again.
    const files = [...input.files];
    input.value = "";
    add(files);
  });
}
