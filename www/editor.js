/**
 * `<unireal-editor>`: the whole editor in one tag. Types, attributes, events and theme variables are in editor.d.ts; the
 * parts lie in editor/. It lives in a shadow root, so its ids and styles and those of the page do not meet; its
 * stylesheet is linked, which the strictest style policy (`style-src 'self'`) allows.
 */
import { markup } from "./editor/markup.js";
import { parts } from "./editor/parts.js";
import { DEVICES } from "./unireal.js";

export class UniRealEditor extends HTMLElement {
  static observedAttributes = ["pack", "device", "examples"];

  #parts;
  /** Ends what listens outside of the shadow root. @type {AbortController | null} */
  #connection = null;
  /** Whether the model of the present attributes was looked at. */
  #started = false;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open", delegatesFocus: false });
    root.append(markup(new URL("./editor.css", import.meta.url).href));
    this.#parts = parts(this, root);
  }

  connectedCallback() {
    this.#connection = new AbortController();
    this.#parts.listen(this.#connection.signal, this.hasAttribute("whole-page"));
    this.#begin();
  }

  disconnectedCallback() {
    this.#connection?.abort();
    this.#connection = null;
    // An element that only moves to another place is connected again at once.
    queueMicrotask(() => {
      if (!this.isConnected) {
        this.#started = false;
        this.#parts.run.cancel();
        this.#parts.engine.close();
      }
    });
  }

  attributeChangedCallback(name, before, after) {
    if (before === after || !this.#started) {
      return;
    }
    if (name === "pack") {
      this.#parts.run.cancel();
      this.#parts.engine.start(after ?? "");
    } else if (name === "device") {
      this.#parts.engine.setDevice(this.device);
    } else {
      this.#parts.showExamples(after);
    }
  }

  /** In a moment: the script that made the element may still set its attributes. */
  #begin() {
    queueMicrotask(() => this.#start());
  }

  #start() {
    if (this.isConnected && !this.#started) {
      this.#started = true;
      this.#parts.engine.setDevice(this.device);
      this.#parts.showExamples(this.getAttribute("examples"));
      this.#parts.engine.start(this.pack);
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
    return DEVICES.includes(device) ? device : "auto";
  }

  set device(device) {
    this.setAttribute("device", device);
  }

  get model() {
    return this.#parts.engine.loaded();
  }

  get images() {
    return this.#parts.inputs.list();
  }

  set images(list) {
    this.#parts.history.keep();
    this.#parts.inputs.give([...list]);
  }

  get prompt() {
    return this.#parts.prompts.read();
  }

  set prompt(text) {
    this.#parts.prompts.set(String(text));
  }

  get sampleSize() {
    return this.#parts.engine.sampleSize();
  }

  set ideas(texts) {
    this.#parts.prompts.drawIdeas([...texts].map(String));
  }

  get request() {
    const { keepSeed, seed, ...others } = this.#parts.settings.read();
    return { prompt: this.prompt, ...others, seed: keepSeed ? seed : undefined };
  }

  set request({ prompt, ...others }) {
    if (prompt !== undefined) {
      this.prompt = prompt;
    }
    this.#parts.settings.put(others);
  }

  async load() {
    this.#start();
    await this.#parts.engine.download();
    return this.model;
  }

  generate() {
    return this.#parts.run.generate();
  }

  cancel() {
    this.#parts.run.cancel();
  }

  focus(options) {
    this.shadowRoot.getElementById("prompt").focus(options);
  }
}

customElements.define("unireal-editor", UniRealEditor);
