/** The input images: choosing, dropping, pasting, ordering, roles. */
import { draggable } from "./drag.js";
import { blobOf } from "./png.js";
import { SAY } from "./words.js";

/** Maximum number of images that a prompt can refer to. */
export const MOST = 10;

/**
 * @typedef {import("../unireal.d.ts").Role} Role
 * @typedef {{ image: Blob, role: Role }} Picture
 * @typedef {{ file: Blob, role: Role, element: HTMLElement }} Slot
 */

/** Returns the size of an image, or null if the browser cannot decode it. The engine uses the same decoder. */
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
 * @param {{ onName: (name: string) => void, onChange: () => void }} options callbacks for a click on an image's name, and for
 * changed images or roles
 */
export function pictures({ get, hint }, { onName, onChange }) {
  /** @type {Slot[]} */
  let slots = [];
  /** Returns the role of an image that is added at an index. @type {(place: number) => Role} */
  let roleAt = (place) => (place === 0 ? "canvas" : "asset");
  /** Serialises changes: decoding is asynchronous, and concurrent changes must not overwrite each other. */
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
    // A decoded image stays visible without its URL.
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

  /** Updates names and roles from the order. Keeps the elements, and thus the focus. */
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
    // Keep the focus in the list instead of at the top of the page.
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

  /** Appends files to the list. */
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

  /** Replaces the list; images that are already in it keep their elements. @param {readonly Picture[]} list */
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

  /** Converts any image source to a Blob. Reports a source that cannot be read and returns null. */
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
    /** Resolves when every added image is in the list. */
    settled: () => queue,
    /** Replaces all images by one. @param {Blob} file */
    only: (file) => (say(""), put([{ image: file, role: roleAt(0) }])),

    /** Replaces the first image of a role, or inserts at an index. @param {Blob} file @param {Role} role @param {number} place */
    async replace(file, role, place) {
      await queue;
      const next = list();
      const at = next.findIndex((one) => one.role === role);
      next.splice(at < 0 ? place : at, at < 0 ? 0 : 1, { image: file, role });
      await put(next);
    },

    /** Replaces the list by image sources of any type. @param {readonly import("../unireal.d.ts").InputImage[]} given */
    give: (given) => inTurn(async () => {
      say("");
      await take((await Promise.all(given.map(keepable))).filter(Boolean));
    }),

    /** @param {(place: number) => Role} given returns the role of an image that is added at an index */
    expect(given) {
      roleAt = given;
    },
  };
}

/** Adds the files that the file dialog returns. */
function listen(input, add) {
  input.addEventListener("change", () => {
    // The list is live: copy it before the input is emptied, which allows the same file to be chosen again.
    const files = [...input.files];
    input.value = "";
    add(files);
  });
}
