/** The input images: choosing, dropping, pasting, ordering, roles. */
import { draggable } from "./drag.js";
import { blobOf } from "./png.js";
import { MESSAGES } from "./strings.js";

/** Maximum number of images of a request (src/request/mod.rs). */
export const MAX_IMAGES = 10;

/**
 * @typedef {import("../unireal.d.ts").Role} Role
 * @typedef {import("../editor.d.ts").EditorImage} EditorImage
 * @typedef {{ file: Blob, role: Role, element: HTMLElement }} Slot an image and its element
 */

/** Returns the size of an image, or null if the browser cannot decode it. The engine uses the same decoder. @param {Blob} file */
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

/** The list of input images. Changes run one after another, because decoding is asynchronous. */
export class InputImages {
  #view;
  #events;
  /** @type {Slot[]} */
  #slots = [];
  /** Returns the role of an image that is added at an index. @type {(place: number) => Role} */
  #roleAt = (place) => (place === 0 ? "canvas" : "asset");
  #queue = Promise.resolve();

  /**
   * @param {import("./view.js").View} view
   * @param {{ onName: (name: string) => void, onChange: () => void }} events callbacks for a click on an image's name, and for
   *   changed images or roles
   */
  constructor(view, events) {
    this.#view = view;
    this.#events = events;
    this.#listen(view.get("file"));
    this.#draw();
  }

  /** @returns {EditorImage[]} */
  list() {
    return this.#slots.map(({ file, role }) => ({ image: file, role }));
  }

  /** Resolves when every added image is in the list. */
  settled() {
    return this.#queue;
  }

  /** Appends files to the list. @param {readonly File[]} files */
  add(files) {
    return this.#enqueue(async () => {
      this.#note("");
      for (const file of files) {
        if (this.#slots.length >= MAX_IMAGES) {
          this.#note(MESSAGES.tooManyImages(MAX_IMAGES));
          break;
        }
        const slot = await this.#createSlot(file, this.#roleAt(this.#slots.length));
        if (slot) {
          this.#slots.push(slot);
        } else {
          this.#note(MESSAGES.notAnImage(file.name));
        }
      }
      this.#draw();
    });
  }

  /** Replaces the list; images that are already in it keep their elements. @param {readonly EditorImage[]} list */
  put(list) {
    return this.#enqueue(() => this.#put(list));
  }

  /** Replaces the list by image sources of any type. @param {readonly import("../unireal.d.ts").InputImage[]} images */
  putSources(images) {
    return this.#enqueue(async () => {
      this.#note("");
      const read = await Promise.all(images.map((image) => this.#toBlob(image)));
      await this.#put(read.filter((image) => image !== null));
    });
  }

  /** Replaces all images by one. @param {Blob} file */
  putOnly(file) {
    this.#note("");
    return this.put([{ image: file, role: this.#roleAt(0) }]);
  }

  /** Replaces the first image of a role, or inserts at an index. @param {Blob} file @param {Role} role @param {number} place */
  async replace(file, role, place) {
    await this.#queue;
    const next = this.list();
    const at = next.findIndex((one) => one.role === role);
    next.splice(at < 0 ? place : at, at < 0 ? 0 : 1, { image: file, role });
    await this.put(next);
  }

  /** @param {(place: number) => Role} roleAt returns the role of an image that is added at an index */
  setRoles(roleAt) {
    this.#roleAt = roleAt;
  }

  /** Runs changes one after another, so that they do not overwrite each other. */
  /** @param {() => Promise<void>} change */
  #enqueue(change) {
    this.#queue = this.#queue.then(change, change);
    return this.#queue;
  }

  /** Shows a note below the images; an empty text hides it. */
  #note(text) {
    this.#view.get("image-note").textContent = text;
    this.#view.show("image-note", text !== "");
  }

  /** @param {readonly EditorImage[]} list */
  async #put(list) {
    const left = [...this.#slots];
    const next = [];
    for (const { image, role } of list.slice(0, MAX_IMAGES)) {
      const at = left.findIndex(({ file }) => file === image);
      const slot = at < 0 ? await this.#createSlot(image, role) : Object.assign(left.splice(at, 1)[0], { role });
      if (slot) {
        next.push(slot);
      } else {
        this.#note(MESSAGES.notAnImage(image instanceof File ? image.name : ""));
      }
    }
    this.#slots = next;
    this.#draw();
  }

  /**
   * Converts any image source to a Blob. Shows a note for a source that cannot be read and returns null.
   * @param {import("../unireal.d.ts").InputImage} input
   * @returns {Promise<EditorImage | null>}
   */
  async #toBlob({ image, role }) {
    try {
      return { image: await blobOf(image), role };
    } catch {
      this.#note(typeof image === "string" || image instanceof URL ? MESSAGES.notFetched(image) : MESSAGES.notAnImage(""));
      return null;
    }
  }

  /** Creates the element of an image; returns null if the browser cannot decode it. @param {Blob} file @param {Role} role @returns {Promise<Slot | null>} */
  async #createSlot(file, role) {
    const size = await sizeOf(file);
    if (!size) {
      return null;
    }
    const element = this.#view.get("slot-template").content.firstElementChild.cloneNode(true);
    const find = (selector) => element.querySelector(selector);
    const url = URL.createObjectURL(file);
    Object.assign(find("img"), size, { src: url });
    // A decoded image stays visible without its URL.
    find("img").decode().catch(() => {}).finally(() => URL.revokeObjectURL(url));
    const slot = { file, role, element };
    find(".role").addEventListener("change", () => {
      slot.role = find(".role").value;
      this.#label();
      this.#events.onChange();
    });
    find(".name").addEventListener("click", () => this.#events.onName(this.#nameOf(slot)));
    find(".remove").addEventListener("click", () => this.#remove(slot));
    find(".earlier").addEventListener("click", () => this.#moveEarlier(slot));
    draggable(find(".handle"), {
      element,
      others: () => this.#slots.map((one) => one.element),
      onDrop: (place) => this.#move(slot, place),
    });
    return slot;
  }

  /** @param {Slot} slot */
  #nameOf(slot) {
    return `IMG${this.#slots.indexOf(slot) + 1}`;
  }

  #draw() {
    const { get, show } = this.#view;
    const count = this.#slots.length;
    this.#label();
    get("slots").replaceChildren(...this.#slots.map(({ element }) => element));
    get("slots").dataset.count = String(count);
    show("drop", count === 0);
    show("add", count > 0 && count < MAX_IMAGES);
    get("images-title").textContent = count > 1 ? MESSAGES.severalImages : MESSAGES.oneImage;
    this.#events.onChange();
  }

  /** Updates names and roles from the order. The elements stay, and thus the focus. */
  #label() {
    for (const slot of this.#slots) {
      const name = this.#nameOf(slot);
      const find = (selector) => slot.element.querySelector(selector);
      const label = (selector, text) => {
        find(selector).setAttribute("aria-label", text);
        find(selector).title = text;
      };
      find("img").alt = `${name}, ${MESSAGES.roles[slot.role]}`;
      find(".role").value = slot.role;
      find(".role").setAttribute("aria-label", MESSAGES.role(name));
      find(".name").textContent = name;
      find(".name").title = MESSAGES.writeName(name);
      find(".name").setAttribute("aria-label", MESSAGES.writeNameLabel(name));
      // A prompt needs the names of images only to distinguish them.
      find(".name").hidden = this.#slots.length === 1;
      find(".handle-text").textContent = MESSAGES.roles[slot.role];
      find(".handle").title = MESSAGES.drag(name);
      label(".remove", MESSAGES.remove(name));
      label(".earlier", MESSAGES.earlier(name));
      find(".earlier").hidden = slot === this.#slots[0];
    }
  }

  /** @param {Slot} slot */
  #remove(slot) {
    const at = this.#slots.indexOf(slot);
    this.#slots.splice(at, 1);
    this.#note("");
    this.#draw();
    // Keep the focus in the list instead of at the top of the page.
    const next = this.#slots[Math.min(at, this.#slots.length - 1)];
    (next?.element.querySelector(".remove") ?? this.#view.get("file")).focus();
  }

  /** @param {Slot} slot @param {number} place */
  #move(slot, place) {
    const at = this.#slots.indexOf(slot);
    if (at < 0 || at === place) {
      return;
    }
    const before = this.#nameOf(slot);
    this.#slots.splice(at, 1);
    this.#slots.splice(place, 0, slot);
    this.#draw();
    this.#view.hint(MESSAGES.moved(before, this.#nameOf(slot)));
  }

  /** @param {Slot} slot */
  #moveEarlier(slot) {
    this.#move(slot, this.#slots.indexOf(slot) - 1);
    const [button, name] = [".earlier", ".name"].map((selector) => /** @type {HTMLElement} */ (slot.element.querySelector(selector)));
    (button.hidden ? name : button).focus();
  }

  /** Adds the files that the file dialog returns. */
  #listen(input) {
    input.addEventListener("change", () => {
      // The list is live: copy it before the input is emptied, which allows the same file to be chosen again.
      const files = [...input.files];
      input.value = "";
      this.add(files);
    });
  }
}
