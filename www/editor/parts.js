/** Creates the parts of an editor and connects them. */
import { drawExamples } from "./examples.js";
import { acceptImages } from "./drop.js";
import { History } from "./history.js";
import { InputImages } from "./images.js";
import { ModelCard } from "./model.js";
import { Painter } from "./painter.js";
import { prompts as createPrompts } from "./prompts.js";
import { ResultPane } from "./result.js";
import { Runner } from "./run.js";
import { Settings } from "./settings.js";
import { fromFragment, toFragment } from "./share.js";
import { MESSAGES } from "./strings.js";
import { Tasks } from "./tasks.js";
import { view as createView } from "./view.js";

/** Returns whether a key event belongs to a text field. @param {KeyboardEvent} event */
function isInTextField(event) {
  const target = event.composedPath()[0];
  return target instanceof HTMLElement && (target.matches("textarea, [type=number], [type=text]") || target.isContentEditable);
}

export class Parts {
  /** @type {Runner} */
  run;
  /** @type {History} */
  history;
  #view;
  #tasks;
  #painter;
  #result;

  /** @param {HTMLElement} host @param {ShadowRoot} root */
  constructor(host, root) {
    const view = (this.#view = createView(host, root));
    const read = () => this.#read();
    this.card = new ModelCard(view, { onModel: (info) => this.settings.useDefaults(info) });
    this.prompts = createPrompts(view);
    this.settings = new Settings(view);
    this.inputs = new InputImages(view, {
      onName: this.prompts.insertName,
      onChange: () => {
        this.#tasks?.draw();
        this.history?.draw();
      },
    });
    this.#result = new ResultPane(view, {
      onInput: (file) => this.#useAsInput(file),
      onChoose: (seed) => this.settings.put({ seed, lockSeed: this.settings.read().lockSeed }),
    });
    const { card, prompts, settings, inputs } = this;
    this.run = new Runner(view, { card, inputs, settings, read, result: this.#result, history: () => this.history });
    this.history = new History(view, {
      read,
      isBusy: () => this.run.isBusy,
      write: (state, result) => this.#write(state, result),
    });
    this.#painter = new Painter(view, { onDone: (mask, image) => this.#useMask(mask, image) });
    this.#tasks = new Tasks(view, {
      inputs, prompts, settings, saveState: () => this.history.saveState(), paint: () => this.#paint(),
    });
    this.history.draw();
    view.get("editor").addEventListener("input", () => this.history.draw());
    view.get("share").addEventListener("click", () => this.#copyLink());
  }

  /**
   * Listens on the editor or on the whole page until the signal aborts.
   * @param {AbortSignal} signal
   * @param {boolean} wholePage
   */
  listen(signal, wholePage) {
    const { host, get, show } = this.#view;
    const target = wholePage ? window : host;
    target.addEventListener("keydown", (event) => this.#onKey(/** @type {KeyboardEvent} */ (event)), { signal });
    acceptImages(target, get("drop-veil"), (files) => this.inputs.add(files), signal);
    get("drop-veil").classList.toggle("everywhere", wholePage);
    get("drop-hint").textContent = wholePage ? MESSAGES.dropOnPage : MESSAGES.dropHere;
    show("share", wholePage);
    if (wholePage) {
      this.#readAddress();
      addEventListener("hashchange", () => this.#readAddress(), { signal });
    }
  }

  /** @param {string | null} address of examples.json */
  showExamples(address) {
    // Shown while the examples load, which avoids a layout shift; hidden again if there are none.
    this.#view.show("examples-section", Boolean(address));
    if (address) {
      drawExamples(this.#view, this.prompts, new URL(address, document.baseURI), async (file) => {
        this.history.saveState();
        await this.inputs.putOnly(file);
      });
    }
  }

  /** Returns the current request with its images. @returns {import("./history.js").State} */
  #read() {
    return { images: this.inputs.list(), request: { prompt: this.prompts.read(), ...this.settings.read() } };
  }

  /**
   * Restores a state of the history.
   * @param {import("./history.js").State} state
   * @param {import("./result.js").Result | null} result
   */
  async #write({ images, request }, result) {
    await this.inputs.put(images);
    this.prompts.set(request.prompt);
    this.settings.put(request);
    await this.#result.restore(result);
  }

  /** Makes a result the image to edit. @param {File} file */
  async #useAsInput(file) {
    await this.inputs.replace(file, "canvas", 0);
    this.prompts.drawIdeas();
    this.history.saveState();
    this.prompts.select();
    this.#view.hint(MESSAGES.nowInput);
  }

  #paint() {
    const canvas = this.inputs.list().find(({ role }) => role === "canvas");
    return canvas && this.#painter.open(canvas.image);
  }

  /** Adds a painted mask, and its image if the painter extended it. @param {File} mask @param {Blob} image */
  async #useMask(mask, image) {
    const list = this.inputs.list();
    if (!list.some((input) => input.image === image)) {
      await this.inputs.replace(image, "canvas", 0);
    }
    await this.inputs.replace(mask, "control", list.findIndex(({ role }) => role === "canvas") + 1);
    this.#view.hint(MESSAGES.nowPrompt);
    this.#view.get("prompt").focus();
  }

  async #copyLink() {
    const { get, show, hint } = this.#view;
    const { images, request } = this.#read();
    const link = new URL(toFragment(request, images.map(({ role }) => role)), location.href).href;
    show("link-row", false);
    try {
      await navigator.clipboard.writeText(link);
      hint(MESSAGES.linkCopied);
    } catch {
      get("link").value = link;
      show("link-row", true);
      get("link").select();
      hint(MESSAGES.linkShown);
    }
  }

  /** Restores the request of the page's address, if there is one. */
  #readAddress() {
    const found = fromFragment(location.hash);
    if (found) {
      const { request, roles } = found;
      this.history.saveState();
      this.prompts.set(request.prompt);
      this.settings.put({ lockSeed: request.seed !== undefined, ...request });
      this.#tasks.ask(roles);
      const needs = roles.length > 0 ? ` ${this.#view.get("needs").textContent}` : "";
      this.#view.hint(MESSAGES.fromLink(roles.length) + needs);
    }
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const isCommand = event.ctrlKey || event.metaKey;
    if (event.key === "Enter" && isCommand) {
      event.preventDefault();
      this.run.press(false);
    } else if (event.key === "Escape") {
      this.run.isBusy ? this.run.cancel() : this.card.stop();
    } else if (event.key.toLowerCase() === "z" && isCommand && !isInTextField(event)) {
      event.preventDefault();
      event.shiftKey ? this.history.redo() : this.history.undo();
    }
  }
}
