/**
 * UniReal in the browser: one diffusion transformer that generates and edits pictures, run in the page from weights on
 * any static host. Nothing leaves the page.
 *
 * ```js
 * const model = await UniReal.load("models/tabletop/");
 * const { images } = await model.generate({ prompt: "remove the red cube", images: [{ image: file, role: "canvas" }] });
 * canvas.getContext("2d").drawImage(images[0], 0, 0);
 * ```
 */

/// <reference lib="dom" />
/// <reference lib="esnext.disposable" />

/** What an input picture is for: to be edited, to take an object or a style from, or to say where or in what shape. */
export type Role = "canvas" | "asset" | "control";

/** A context tag: an attribute of the wanted result, read ahead of the prompt. */
export type Tag =
  | "realistic style"
  | "synthetic style"
  | "static scenario"
  | "dynamic scenario"
  | "with reference object"
  | "novel scenario"
  | "perception task";

/**
 * Where the model runs: `auto` takes WebGPU on a real GPU whose start-up check agrees with the CPU, else the CPU. `webgpu-f16` is WebGPU
 * with products in 16-bit floats, where the adapter has them (`unsupported` elsewhere): for GPUs that multiply those faster, exact to
 * three digits.
 */
export type Device = "auto" | "webgpu" | "webgpu-f16" | "cpu";

/** What went wrong, for programs:
 * - `unsupported`: this browser or device cannot do it;
 * - `network`: bytes could not be fetched; what arrived is kept;
 * - `integrity`: bytes arrived that are not the promised ones;
 * - `format`: a file of the pack is not what its format says;
 * - `memory`: the device or the tab has not enough memory;
 * - `device-lost`: the GPU went away; the next `generate` reloads the model;
 * - `busy`: another request is running on this model;
 * - `request`: the request contradicts itself or the model; the message says what would be right;
 * - `internal`: a defect of this library; the next `generate` starts afresh.
 */
export type ErrorCode =
  | "unsupported"
  | "network"
  | "integrity"
  | "format"
  | "memory"
  | "device-lost"
  | "busy"
  | "request"
  | "internal";

/** Every error of this module, except cancellation: an abort rejects with the signal's reason, by default a DOM
 * `AbortError`. */
export declare class UniRealError extends Error {
  constructor(code: ErrorCode, message: string, options?: ErrorOptions);
  readonly name: "UniRealError";
  readonly code: ErrorCode;
}

/** A picture in any form that a page has one. A string is a URL. Longer sides than 2048 pixels are scaled down. */
export type ImageSource =
  | Blob
  | string
  | URL
  | ImageBitmap
  | ImageData
  | HTMLImageElement
  | HTMLCanvasElement
  | OffscreenCanvas;

/** An input picture and its role. The first of a request is IMG1. */
export interface InputImage {
  readonly image: ImageSource;
  readonly role: Role;
}

/** One part of a pack. */
export interface Component {
  /** Bytes of its shards. */
  readonly bytes: number;
}

/** Bytes that a pack needs on the device. */
export interface Memory {
  /** All weights, as they lie on the device. */
  readonly weights: number;
  /** The most that a picture of the model's own size takes besides; an estimate from the shapes. */
  readonly activations: number;
  /** The largest matrix, which must fit into one buffer. */
  readonly largest: number;
  /** The largest buffer that this browser's WebGPU adapter gives; null where there is no adapter. How much memory a GPU has in
   * all, browsers do not tell. */
  readonly limit: number | null;
}

interface SupportFacts {
  /** The pack's name. */
  readonly name: string;
  /** Bytes of the whole pack. */
  readonly bytes: number;
  /** How many of them this browser holds already. */
  readonly cachedBytes: number;
  /** The side, in pixels, of the pictures that the model was trained on. */
  readonly sampleSize: number;
  /** Sampler steps of a request that asks for no number. */
  readonly steps: number;
  /** The pack's parts by name, such as `transformer`. */
  readonly components: Readonly<Record<string, Component>>;
  /** What it needs of the device, against what the device has. */
  readonly memory: Memory;
}

/** What is known before any weight is downloaded. */
export type Support =
  | (SupportFacts & { readonly ok: true })
  | (SupportFacts & { readonly ok: false; readonly code: ErrorCode; readonly message: string });

/** Progress of a load. `loaded` never falls, `total` never changes, and `ready` comes once and last. */
export interface Progress {
  readonly stage: "download" | "ready";
  /** Bytes that have arrived, cached ones included. */
  readonly loaded: number;
  /** Bytes of the whole pack. */
  readonly total: number;
  /** Whether the bytes that this event adds came from the cache; at `ready`, whether all did. */
  readonly cached: boolean;
}

export interface CheckOptions {
  /** On which the load is going to be; default `auto`, which is fine where one of both is. */
  readonly device?: Device | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface LoadOptions {
  /** Default `auto`. */
  readonly device?: Device | undefined;
  /** Where downloaded weights are kept: the origin's private file system (default), or nowhere. */
  readonly cache?: "opfs" | "none" | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The model that was loaded, and what it runs on. */
export interface ModelInfo {
  readonly name: string;
  readonly device: "webgpu" | "cpu";
  /** The adapter's own description of itself. */
  readonly adapter: string;
  /** Why it is not the device that one would expect, if it is not. */
  readonly note: string | null;
  readonly sampleSize: number;
  /** Sampler steps of a request that asks for no number. */
  readonly steps: number;
  readonly bytes: number;
}

/** A step of the sampler. */
export interface Step {
  /** From 1 to `steps`. */
  readonly step: number;
  readonly steps: number;
  /** The result as it looks so far, one picture an output, where `previewEvery` asks for it. The bitmaps are yours to
   * close. */
  readonly preview: ImageBitmap[] | null;
}

interface RequestBase {
  /** What the result should be, in words. Names inputs as IMG1, IMG2, ... and outputs as RES1, RES2, ... */
  readonly prompt: string;
  /** Input pictures in order; none means text to image. At most 10. */
  readonly images?: readonly InputImage[] | undefined;
  /** Context tags; left out, they are derived from the request. */
  readonly context?: readonly Tag[] | null | undefined;
  /** Number of results, made in one pass, 1 to 10; default 1. */
  readonly outputs?: number | undefined;
  /** Sampler steps, 1 to 1000; by default the model's own number, {@link ModelInfo.steps}. */
  readonly steps?: number | undefined;
  /** `euler`: one evaluation a step (default); `heun`: two, for fewer steps. */
  readonly method?: "euler" | "heun" | undefined;
  /** Text guidance, 0 to 100, 1 is none; default 2. */
  readonly guidance?: number | undefined;
  /** Image guidance, 0 to 100, 1 is none; default 1. */
  readonly imageGuidance?: number | undefined;
  /** Whether what an edit leaves alone comes from its canvas, pixel for pixel; default true. It applies to one result of one
   * canvas with the tag `static scenario`, and not to perception tasks. */
  readonly keep?: boolean | undefined;
  /** Seed of the noise, a whole number from 0 to 2^53 - 1; default random 32 bits. */
  readonly seed?: number | undefined;
  /** Ask for a preview every so many steps; default 0, never. */
  readonly previewEvery?: number | undefined;
  readonly onStep?: ((step: Step) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Output size in pixels: both sides, or none for the first canvas's shape (without one, the model's own size). */
export type OutputSize =
  | { readonly width: number; readonly height: number }
  | { readonly width?: undefined; readonly height?: undefined };

/** One request, whatever the task: text to image is a request without images. */
export type GenerateOptions = RequestBase & OutputSize;

/** Milliseconds of each stage. */
export interface Timings {
  readonly text: number;
  readonly encode: number;
  readonly sample: number;
  readonly decode: number;
  readonly total: number;
}

export interface Generated {
  /** One picture an output. */
  readonly images: ImageBitmap[];
  /** The seed that was used: the same request with it gives the same picture. */
  readonly seed: number;
  readonly timings: Timings;
}

/** A loaded model, in a Worker of its own. After a fault the Worker is replaced, and the next `generate` reloads the
 * model from the cache. */
export interface Model extends AsyncDisposable {
  readonly info: ModelInfo;
  /**
   * Runs one request. One at a time: while one runs, another rejects with `busy`.
   * @throws UniRealError, or the signal's reason after an abort
   */
  generate(options: GenerateOptions): Promise<Generated>;
  /** Frees the model and ends its Worker; a running request rejects with an `AbortError`. */
  dispose(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Every {@link Device}. */
export declare const DEVICES: readonly Device[];

export declare const UniReal: {
  /** Reads a pack's descriptions and says what a load would take, without downloading weights. */
  check(url: string | URL, options?: CheckOptions): Promise<Support>;
  /**
   * Loads the pack in the folder at `url`, on any host that lets this page read it.
   * @throws UniRealError, or the signal's reason after an abort
   */
  load(url: string | URL, options?: LoadOptions): Promise<Model>;
  /** Bytes of this browser's storage that the pack takes, those of an unfinished download included; 0 where nothing is
   * kept. */
  storedBytes(url: string | URL): Promise<number>;
  /** Deletes what this browser has kept of the pack. */
  clearCache(url: string | URL): Promise<void>;
};
