/**
 * `<unireal-editor>`: the editor as a custom element. Importing the module defines it.
 *
 * ```html
 * <script type="module" src="www/editor.js"></script>
 * <unireal-editor pack="www/models/tabletop/"></unireal-editor>
 * ```
 *
 * Attributes:
 * - `pack`: address of the model's folder, relative to the page or absolute. Nothing is downloaded before the user has
 *   agreed to the size, or the page has called `load()`;
 * - `device`: `auto` (default), `webgpu`, `webgpu-f16` or `cpu`;
 * - `examples`: address of a list of examples, `[{ "image": "a.png", "prompt": "…" }]`;
 * - `whole-page`: handles keys, dropped images and pasted images on the whole page instead of on the element, and shares
 *   requests as links to the page. Read when the element is connected.
 *
 * The editor works under `script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; img-src 'self' blob:;
 * connect-src 'self'`, where 'self' stands for the hosts of this module, the pack and the examples. Under Trusted Types
 * (`require-trusted-types-for 'script'`) it needs `trusted-types unireal-editor`, and a default policy of the page whose
 * `createScriptURL` accepts this module's `worker.js`, such as `demo/trusted.js`.
 *
 * Slots: `intro`, beside the model's card; `start`, below the examples; `beside`, next to the result, for example for an
 * image to compare it with.
 *
 * Events, all of which bubble: `unireal-ready`, `unireal-progress`, `unireal-shown`, `unireal-result`, `unireal-error`.
 *
 * Theme: CSS variables on the element or an ancestor. Each has a light and a dark default; the element's `color-scheme`
 * property chooses between them (default: the setting of the user's system).
 *
 * | variable | use |
 * |---|---|
 * | `--unireal-ground` | page background; the editor uses it for its drop overlay only |
 * | `--unireal-card`, `--unireal-sunken`, `--unireal-line` | cards, fields in cards, borders |
 * | `--unireal-ink`, `--unireal-soft` | text, secondary text |
 * | `--unireal-accent`, `--unireal-accent-strong`, `--unireal-on-accent`, `--unireal-tint` | main buttons and selected items; hovered; text on them; background of selected items |
 * | `--unireal-warn-ground`, `--unireal-warn-ink` | error notices |
 * | `--unireal-shadow` | shadow of cards |
 * | `--unireal-radius` | corner radius of cards |
 * | `--unireal-font` | font family |
 */

import type { Device, ErrorCode, ImageSource, InputImage, Model, ModelInfo, Progress, Role, Tag, Timings } from "./unireal.js";

/** A request without its images. */
export interface EditorRequest {
  readonly prompt: string;
  /** Null derives the tags from the images and their roles. */
  readonly context: readonly Tag[] | null;
  readonly outputs: number;
  readonly steps: number;
  readonly guidance: number;
  readonly imageGuidance: number;
  readonly composite: boolean;
  /** Without a seed, every request gets a new one. */
  readonly seed?: number | undefined;
}

/** An input image of the editor. */
export interface EditorImage {
  readonly image: Blob;
  readonly role: Role;
}

/** The result of a request. */
export interface EditorResult {
  /** A PNG file for each image. */
  readonly images: File[];
  /** The seed of each image. */
  readonly seeds: number[];
  readonly timings: Timings;
  readonly request: EditorRequest;
  /** The input images of the request. */
  readonly inputs: readonly EditorImage[];
}

/** The files of the result that is shown, either new or restored from the history; empty while a request runs. */
export interface EditorShown {
  readonly images: readonly File[];
}

/** Progress of a download in bytes, or of a request in steps. */
export type EditorProgress =
  | Progress
  | { readonly stage: "steps"; readonly step: number; readonly steps: number };

/** An error; the editor has already shown a message for it. */
export interface EditorError {
  readonly code: ErrorCode;
  readonly error: unknown;
}

export declare class UniRealEditor extends HTMLElement {
  /** The attribute `pack`. */
  pack: string;
  /** The attribute `device`. */
  device: Device;
  /** The loaded model, or null. */
  readonly model: Model | null;
  /** The input images. Setting them replaces them asynchronously; `generate()` waits for that. */
  get images(): EditorImage[];
  set images(images: readonly InputImage[]);
  prompt: string;
  /** Side of the model's images in pixels, or null before the pack was checked. */
  readonly sampleSize: number | null;
  /** Suggested prompts below the prompt field; a click uses one. */
  set ideas(texts: readonly string[]);
  /** Prompt and settings. Setting it changes only the given fields. */
  get request(): EditorRequest;
  set request(request: Partial<EditorRequest>);
  /** Downloads and loads the model, like the download button. */
  load(): Promise<Model>;
  /** Runs the request, like the Generate button. Rejects with the error that the editor shows. */
  generate(): Promise<EditorResult>;
  /** Cancels the running request, which then rejects with an `AbortError`. */
  cancel(): void;
}

export interface UniRealEditorEventMap {
  "unireal-ready": CustomEvent<ModelInfo>;
  "unireal-progress": CustomEvent<EditorProgress>;
  "unireal-shown": CustomEvent<EditorShown>;
  "unireal-result": CustomEvent<EditorResult>;
  "unireal-error": CustomEvent<EditorError>;
}

export type { ImageSource };

declare global {
  interface HTMLElementTagNameMap {
    "unireal-editor": UniRealEditor;
  }
  interface GlobalEventHandlersEventMap extends UniRealEditorEventMap {}
}
