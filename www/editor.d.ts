/**
 * `<unireal-editor>`: the whole editor in one tag. Importing the module defines it.
 *
 * ```html
 * <script type="module" src="www/editor.js"></script>
 * <unireal-editor pack="www/models/tabletop/"></unireal-editor>
 * ```
 *
 * Attributes:
 * - `pack`: address of the model's folder, relative to the page or absolute. Nothing is downloaded before a person has
 *   agreed to the size, or the page has called `load()`;
 * - `device`: `auto` (default), `webgpu`, `webgpu-f16` or `cpu`;
 * - `examples`: address of a list of examples, `[{ "image": "a.png", "prompt": "…" }]`;
 * - `whole-page`: the page belongs to the editor: its keys work anywhere, pictures are dropped and pasted anywhere, and
 *   requests are shared as links to the page. Without it the editor minds itself only. Read when the element is connected.
 *
 * It works under `script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; img-src 'self' blob:;
 * connect-src 'self'`, where 'self' stands for the hosts of this module, the pack and the examples. Under Trusted Types
 * (`require-trusted-types-for 'script'`) it needs `trusted-types unireal-editor`, and a default policy of the page whose
 * `createScriptURL` lets this module's `worker.js` through; `demo/trusted.js` is such a policy.
 *
 * Slots: `intro`, shown beside the model's card; `start`, below the examples; `beside`, next to the result, as for a picture to
 * compare it with.
 *
 * Events, all of which bubble: `unireal-ready`, `unireal-progress`, `unireal-shown`, `unireal-result`, `unireal-error`.
 *
 * Theme: CSS variables on the element or above it. Each has a light and a dark default, and the property `color-scheme`
 * of the element chooses between them (default: as the reader's system).
 *
 * | variable | what |
 * |---|---|
 * | `--unireal-ground` | behind everything; the editor paints none, this is what its veil is made of |
 * | `--unireal-card`, `--unireal-sunken`, `--unireal-line` | cards, what lies in them, borders |
 * | `--unireal-ink`, `--unireal-soft` | text, secondary text |
 * | `--unireal-accent`, `--unireal-accent-strong`, `--unireal-on-accent`, `--unireal-tint` | main buttons and what is chosen; hovered; text on them; a light ground for what is chosen |
 * | `--unireal-warn-ground`, `--unireal-warn-ink` | notices of what went wrong |
 * | `--unireal-shadow` | of cards |
 * | `--unireal-radius` | of cards |
 * | `--unireal-font` | font family |
 */

import type { Device, ErrorCode, ImageSource, InputImage, Model, ModelInfo, Progress, Role, Tag, Timings } from "./unireal.js";

/** A request without its pictures. */
export interface EditorRequest {
  readonly prompt: string;
  /** Null: derived from the pictures and their roles. */
  readonly context: readonly Tag[] | null;
  readonly outputs: number;
  readonly steps: number;
  readonly guidance: number;
  readonly imageGuidance: number;
  readonly keep: boolean;
  /** Left out, every request gets a new one. */
  readonly seed?: number | undefined;
}

/** An input picture as the editor keeps it. */
export interface EditorImage {
  readonly image: Blob;
  readonly role: Role;
}

/** What a request made. */
export interface EditorResult {
  /** One PNG file a picture. */
  readonly images: File[];
  /** The seed of each. */
  readonly seeds: number[];
  readonly timings: Timings;
  readonly request: EditorRequest;
  /** The pictures that it was made from. */
  readonly inputs: readonly EditorImage[];
}

/** The files of the result that is on show now, made or gone back to; none while one is made. */
export interface EditorShown {
  readonly images: readonly File[];
}

/** Bytes of a download, or steps of a request. */
export type EditorProgress =
  | Progress
  | { readonly stage: "steps"; readonly step: number; readonly steps: number };

/** What went wrong; the editor has said it in plain words already. */
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
  /** The input pictures. Setting them replaces those there; it takes a moment, which `generate()` waits for. */
  get images(): EditorImage[];
  set images(images: readonly InputImage[]);
  prompt: string;
  /** Pixels of a side of the pictures that the model makes, or null until the pack was looked at. */
  readonly sampleSize: number | null;
  /** What is offered below the prompt, to be taken by a press. */
  set ideas(texts: readonly string[]);
  /** Prompt and settings. Setting it changes what is given. */
  get request(): EditorRequest;
  set request(request: Partial<EditorRequest>);
  /** Downloads and loads the model, as a press on the button would. */
  load(): Promise<Model>;
  /** Runs the request, as a press on Generate would. Rejects with what the editor shows as well. */
  generate(): Promise<EditorResult>;
  /** Ends the running request, which then rejects with an `AbortError`. */
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
