/**
 * UniReal in the browser: a diffusion transformer that generates and edits images. It runs in the page, with weights from
 * any static HTTP server. No data leaves the page.
 *
 * ```js
 * const model = await UniReal.load("models/tabletop/");
 * const { images } = await model.generate({ prompt: "remove the red cube", images: [{ image: file, role: "canvas" }] });
 * canvas.getContext("2d").drawImage(images[0], 0, 0);
 * ```
 */

/// <reference lib="dom" />
/// <reference lib="esnext.disposable" />

/** The role of an input image: the image to edit, a source of an object or a style, or a control such as a mask. */
export type Role = "canvas" | "asset" | "control";

/** A context tag: an attribute of the result, which the model reads before the prompt. */
export type Tag =
  | "realistic style"
  | "synthetic style"
  | "static scenario"
  | "dynamic scenario"
  | "with reference object"
  | "novel scenario"
  | "perception task";

/**
 * The device that the model runs on. `auto` uses WebGPU on a hardware GPU whose start-up check agrees with the CPU, and
 * the CPU otherwise. `webgpu-f16` is WebGPU with products in 16-bit floats, accurate to three digits, for GPUs that
 * multiply those faster; it is `unsupported` on adapters without them.
 */
export type Device = "auto" | "webgpu" | "webgpu-f16" | "cpu";

/** Error codes:
 * - `unsupported`: this browser or device lacks a feature;
 * - `network`: a download failed; the next one resumes where it stopped;
 * - `integrity`: a file's bytes do not match the pack's index;
 * - `format`: a file of the pack is malformed;
 * - `memory`: the device or the tab is out of memory;
 * - `device-lost`: the GPU device was lost; the next `generate` reloads the model;
 * - `busy`: another request is running on this model;
 * - `request`: the request is invalid for this model; the message says what is valid;
 * - `internal`: a defect of this library; the next `generate` reloads the model.
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

/** The class of all errors of this module except cancellation: an abort rejects with the signal's reason, by default a
 * DOM `AbortError`. */
export declare class UniRealError extends Error {
  constructor(code: ErrorCode, message: string, options?: ErrorOptions);
  readonly name: "UniRealError";
  readonly code: ErrorCode;
}

/** An image. A string is a URL. An image with a side above 2048 pixels is scaled down. */
export type ImageSource =
  | Blob
  | string
  | URL
  | ImageBitmap
  | ImageData
  | HTMLImageElement
  | HTMLCanvasElement
  | OffscreenCanvas;

/** An input image and its role. The first of a request is IMG1. */
export interface InputImage {
  readonly image: ImageSource;
  readonly role: Role;
}

/** A component of a pack. */
export interface Component {
  /** Size of its shards in bytes. */
  readonly bytes: number;
}

/** Memory requirements of a pack in bytes. */
export interface Memory {
  /** All weights in the device's layout. */
  readonly weights: number;
  /** Peak of activations for an image of the model's own size, estimated from the shapes. */
  readonly activations: number;
  /** The largest matrix, which must fit into one buffer. */
  readonly largest: number;
  /** The largest buffer of this browser's WebGPU adapter; null without an adapter. Browsers do not tell the total memory
   * of a GPU. */
  readonly limit: number | null;
}

interface SupportFacts {
  /** The pack's name. */
  readonly name: string;
  /** Size of the whole pack in bytes. */
  readonly bytes: number;
  /** Number of those bytes that this browser has cached. */
  readonly cachedBytes: number;
  /** Side of the model's training images in pixels. */
  readonly sampleSize: number;
  /** Number of sampler steps of a request that sets none. */
  readonly steps: number;
  /** Text guidance scale of a request that sets none. */
  readonly guidance: number;
  /** The pack's components by name, such as `transformer`. */
  readonly components: Readonly<Record<string, Component>>;
  /** The pack's memory requirements and the device's limit. */
  readonly memory: Memory;
}

/** Facts about a pack from its descriptions, and whether it can run here. */
export type Support =
  | (SupportFacts & { readonly ok: true })
  | (SupportFacts & { readonly ok: false; readonly code: ErrorCode; readonly message: string });

/** Progress of a load. `loaded` never decreases, `total` never changes, and `ready` comes once and last. */
export interface Progress {
  readonly stage: "download" | "ready";
  /** Number of bytes loaded, including cached ones. */
  readonly loaded: number;
  /** Size of the whole pack in bytes. */
  readonly total: number;
  /** Whether the bytes of this event came from the cache; at `ready`, whether all did. */
  readonly cached: boolean;
}

export interface CheckOptions {
  /** The device of the later load; default `auto`, which needs only one of GPU and CPU to be sufficient. */
  readonly device?: Device | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface LoadOptions {
  /** Default `auto`. */
  readonly device?: Device | undefined;
  /** Where downloaded weights are cached: `opfs`, the origin's private file system (default), or `none`. */
  readonly cache?: "opfs" | "none" | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A loaded model and its device. */
export interface ModelInfo {
  readonly name: string;
  readonly device: "webgpu" | "cpu";
  /** The adapter's description of itself. */
  readonly adapter: string;
  /** Remarks, such as why `auto` does not use the GPU or why the model is not cached; null if there are none. */
  readonly note: string | null;
  readonly sampleSize: number;
  /** Number of sampler steps of a request that sets none. */
  readonly steps: number;
  /** Text guidance scale of a request that sets none. */
  readonly guidance: number;
  readonly bytes: number;
}

/** A sampler step. */
export interface Step {
  /** From 1 to `steps`. */
  readonly step: number;
  readonly steps: number;
  /** Previews of the result, one image for each output, at the steps that `previewEvery` selects. The caller closes the
   * bitmaps. */
  readonly preview: ImageBitmap[] | null;
}

interface RequestBase {
  /** Describes the result. Refers to inputs as IMG1, IMG2, ... and to outputs as RES1, RES2, ... */
  readonly prompt: string;
  /** Input images in order, at most 10. Text to image has none. */
  readonly images?: readonly InputImage[] | undefined;
  /** Context tags; by default derived from the request. */
  readonly context?: readonly Tag[] | null | undefined;
  /** Number of results of one pass, 1 to 10; default 1. */
  readonly outputs?: number | undefined;
  /** Number of sampler steps, 1 to 1000; default {@link ModelInfo.steps}. */
  readonly steps?: number | undefined;
  /** `euler`: one evaluation per step (default); `heun`: two, which needs fewer steps. */
  readonly method?: "euler" | "heun" | undefined;
  /** Text guidance scale, 0 to 100, 1 is none; by default the model's own, {@link ModelInfo.guidance}. */
  readonly guidance?: number | undefined;
  /** Image guidance, 0 to 100, 1 is none; default 1. */
  readonly imageGuidance?: number | undefined;
  /** Whether to composite the result onto the canvas, which restores unchanged pixels bit for bit; default true. Applies to
   * one result of one canvas with the tag `static scenario`, and not to perception tasks. */
  readonly composite?: boolean | undefined;
  /** @deprecated Renamed to `composite` in 0.2; removed in 0.3. */
  readonly keep?: boolean | undefined;
  /** Seed of the noise, an integer from 0 to 2^53 - 1; default random 32 bits. */
  readonly seed?: number | undefined;
  /** Number of steps between previews; default 0, no previews. */
  readonly previewEvery?: number | undefined;
  readonly onStep?: ((step: Step) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Output size in pixels: both sides or none. The default is the shape of the first canvas, or the model's own size. */
export type OutputSize =
  | { readonly width: number; readonly height: number }
  | { readonly width?: undefined; readonly height?: undefined };

/** A request for any task; text to image is a request without images. */
export type GenerateOptions = RequestBase & OutputSize;

/** Duration of each stage in milliseconds. */
export interface Timings {
  readonly text: number;
  readonly encode: number;
  readonly sample: number;
  readonly decode: number;
  readonly total: number;
}

export interface Generated {
  /** One image for each output. */
  readonly images: ImageBitmap[];
  /** The seed that was used. The same request with this seed returns the same image. */
  readonly seed: number;
  readonly timings: Timings;
}

/** A loaded model in a separate worker. After a fault the worker is replaced, and the next `generate` reloads the
 * model from the cache. */
export interface Model extends AsyncDisposable {
  readonly info: ModelInfo;
  /**
   * Runs a request. Rejects with `busy` while another request runs.
   * @throws UniRealError, or the signal's reason after an abort
   */
  generate(options: GenerateOptions): Promise<Generated>;
  /** Frees the model and terminates its worker; a running request rejects with an `AbortError`. */
  dispose(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** All values of {@link Device}. */
export declare const DEVICES: readonly Device[];

export declare const UniReal: {
  /** Reads a pack's descriptions and returns what a load needs, without downloading weights. */
  check(url: string | URL, options?: CheckOptions): Promise<Support>;
  /**
   * Loads the pack in the folder at `url`. A server of another origin must allow this page by CORS.
   * @throws UniRealError, or the signal's reason after an abort
   */
  load(url: string | URL, options?: LoadOptions): Promise<Model>;
  /** Returns the bytes that the pack takes in this browser's storage, including those of an unfinished download; 0 if
   * nothing is cached. */
  storedBytes(url: string | URL): Promise<number>;
  /**
   * Deletes this browser's cached files of the pack.
   * @throws UniRealError with the code `busy` while a load uses them, possibly in another tab
   */
  clearCache(url: string | URL): Promise<void>;
};
