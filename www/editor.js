/**
 * `<unireal-editor>`: the editor as a custom element. editor.d.ts documents its types, attributes, events and theme
 * variables; its parts are in editor/. It renders into a shadow root, which separates its ids and styles from those of
 * the page. It links its stylesheet, which the strictest style policy (`style-src 'self'`) allows.
 */
import { markup } from "./editor/markup.js";
import { Parts } from "./editor/parts.js";
import { DEVICES } from "./unireal.js";

export class UniRealEditor extends HTMLElement {
  static observedAttributes = ["pack", "device", "examples"];

  #parts;
  /** Removes the listeners outside the shadow root. @type {AbortController | null} */
  #connection = null;
  /** Whether the pack of the current attributes was checked. */
  #started = false;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open", delegatesFocus: false });
    root.append(markup(new URL("./editor.css", import.meta.url).href));
    this.#parts = new Parts(this, root);
  }

  connectedCallback() {
    this.#connection = new AbortController();
    this.#parts.listen(this.#connection.signal, this.hasAttribute("whole-page"));
    // In a microtask, so that the script that created the element can still set its attributes.
    queueMicrotask(() => this.#start());
  }

  disconnectedCallback() {
    this.#connection?.abort();
    this.#connection = null;
    // An element that is only moved is connected again immediately.
    queueMicrotask(() => {
      if (!this.isConnected) {
        this.#started = false;
        this.#parts.run.cancel();
        this.#parts.card.close();
      }
    });
  }

  attributeChangedCallback(name, before, after) {
    if (before === after || !this.#started) {
      return;
    }
    if (name === "pack") {
      this.#parts.run.cancel();
      this.#parts.card.start(after ?? "");
    } else if (name === "device") {
      this.#parts.card.setDevice(this.device);
    } else {
      this.#parts.showExamples(after);
    }
  }

  #start() {
    if (this.isConnected && !this.#started) {
      this.#started = true;
      this.#parts.card.setDevice(this.device);
      this.#parts.showExamples(this.getAttribute("examples"));
      this.#parts.card.start(this.pack);
    }
  }

  get pack() {
    return this.getAttribute("pack") ?? "";
  }

  set pack(address) {
    this.setAttribute("pack", String(address));
  }

  get device() {
    const device = this.getAttribute("device");
    return DEVICES.find((name) => name === device) ?? "auto";
  }

  set device(device) {
    this.setAttribute("device", device);
  }

  get model() {
    return this.#parts.card.model;
  }

  get images() {
    return this.#parts.inputs.list();
  }

  set images(list) {
    this.#parts.history.saveState();
    this.#parts.inputs.putSources([...list]);
  }

  get prompt() {
    return this.#parts.prompts.read();
  }

  set prompt(text) {
    this.#parts.prompts.set(String(text));
  }

  get sampleSize() {
    return this.#parts.card.sampleSize;
  }

  set ideas(texts) {
    this.#parts.prompts.drawIdeas([...texts].map(String));
  }

  get request() {
    const { lockSeed, seed, ...others } = this.#parts.settings.read();
    return { prompt: this.prompt, ...others, seed: lockSeed ? seed : undefined };
  }

  set request({ prompt, ...others }) {
    if (prompt !== undefined) {
      this.prompt = prompt;
    }
    this.#parts.settings.put(others);
  }

  async load() {
    this.#start();
    await this.#parts.card.download();
    return this.model;
  }

  generate() {
    return this.#parts.run.generate();
  }

  cancel() {
    this.#parts.run.cancel();
  }

  focus(options) {
    this.shadowRoot?.getElementById("prompt")?.focus(options);
  }
}

customElements.define("unireal-editor", UniRealEditor);
