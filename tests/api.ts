// Statements that must and must not type-check against the public API. This file is never run:
//   tsc --noEmit --strict --lib es2022,dom tests/api.ts
import { UniReal, UniRealError } from "../www/unireal.js";
import type {
  Device, ErrorCode, GenerateOptions, ImageSource, InputImage, Model, Progress, Role, Step, Support, Tag, Timings,
} from "../www/unireal.js";

import type { EditorImage, EditorRequest, EditorResult, UniRealEditor } from "../www/editor.js";

/** Compiles only where both types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <T extends true>(): T | void => undefined;

export async function check(signal: AbortSignal): Promise<string> {
  const support = await UniReal.check("models/tabletop/", { signal });
  same<Same<typeof support, Support>>();
  await UniReal.check(new URL("https://example.org/pack/"));
  const numbers: number = support.bytes + support.cachedBytes + support.sampleSize + support.steps + support.memory.weights;
  same<Same<typeof support.memory.limit, number | null>>();
  // @ts-expect-error: a code exists only if `ok` is false
  support.code;
  if (support.ok) {
    // @ts-expect-error: no message if `ok` is true
    return support.message;
  }
  same<Same<typeof support.code, ErrorCode>>();
  // @ts-expect-error: the facts are read-only
  support.bytes = 0;
  // @ts-expect-error: an address is needed
  await UniReal.check();
  return `${support.message} ${numbers}`;
}

export async function load(signal: AbortSignal): Promise<Model> {
  const model = await UniReal.load("models/tabletop/", {
    device: "webgpu",
    cache: "none",
    signal,
    onProgress(event) {
      same<Same<typeof event, Progress>>();
      same<Same<typeof event.stage, "download" | "ready">>();
      const share: number = event.loaded / event.total;
      const cached: boolean = event.cached;
      // @ts-expect-error: no such stage
      if (event.stage === "upload") return;
      void [share, cached];
    },
  });
  same<Same<typeof model, Model>>();
  const device: Device = model.info.device;
  const note: string | null = model.info.note;
  // @ts-expect-error: a model runs on a device, not on "auto"
  if (model.info.device === "auto") void [device, note];
  // @ts-expect-error: unknown device
  await UniReal.load("models/tabletop/", { device: "gpu" });
  // @ts-expect-error: unknown cache
  await UniReal.load("models/tabletop/", { cache: true });
  // @ts-expect-error: unknown option
  await UniReal.load("models/tabletop/", { progress: () => {} });
  // @ts-expect-error: a signal, not its controller
  await UniReal.load("models/tabletop/", { signal: new AbortController() });
  // @ts-expect-error: models come from load
  new UniReal();
  // @ts-expect-error: the worker is private
  model.worker;
  return model;
}

export async function generate(model: Model, file: File, signal: AbortSignal): Promise<ImageBitmap> {
  const { images, seed, timings } = await model.generate({ prompt: "a red cube" });
  same<Same<typeof images, ImageBitmap[]>>();
  same<Same<typeof seed, number>>();
  same<Same<typeof timings, Timings>>();
  same<Same<keyof Timings, "text" | "encode" | "sample" | "decode" | "total">>();
  // @ts-expect-error: no such stage
  timings.upload;

  const asset: InputImage = { image: "dog.png", role: "asset" };
  await model.generate({
    prompt: "put the dog of IMG2 on the sofa of IMG1",
    images: [{ image: file, role: "canvas" }, asset],
    context: ["realistic style", "with reference object"],
    width: 512,
    height: 384,
    outputs: 2,
    steps: 30,
    method: "heun",
    guidance: 4.5,
    composite: false,
    imageGuidance: 1.5,
    seed: 7,
    previewEvery: 5,
    signal,
    onStep(event) {
      same<Same<typeof event, Step>>();
      same<Same<typeof event.preview, ImageBitmap[] | null>>();
      // @ts-expect-error: there may be no preview
      event.preview.length;
    },
  });
  await model.generate({ prompt: "a red cube", context: null, seed: undefined, images: [] });

  // @ts-expect-error: the prompt is needed
  await model.generate({ images: [asset] });
  // @ts-expect-error: the prompt is text
  await model.generate({ prompt: ["a red cube"] });
  // @ts-expect-error: width and height come together
  await model.generate({ prompt: "a red cube", width: 512 });
  // @ts-expect-error: unknown role
  await model.generate({ prompt: "bluer", images: [{ image: file, role: "mask" }] });
  // @ts-expect-error: a role is needed
  await model.generate({ prompt: "bluer", images: [{ image: file }] });
  // @ts-expect-error: an image without a role
  await model.generate({ prompt: "bluer", images: [file] });
  // @ts-expect-error: a single image must be in a list
  await model.generate({ prompt: "bluer", images: asset });
  // @ts-expect-error: unknown tag
  await model.generate({ prompt: "bluer", context: ["realistic"] });
  // @ts-expect-error: unknown method
  await model.generate({ prompt: "bluer", method: "ddim" });
  // @ts-expect-error: a seed is a number
  await model.generate({ prompt: "bluer", seed: 7n });
  // @ts-expect-error: unknown option
  await model.generate({ prompt: "bluer", cfg: 3 });
  return images[0]!;
}

export function sources(bitmap: ImageBitmap, pixels: ImageData, canvas: OffscreenCanvas): ImageSource[] {
  const image = document.createElement("img");
  const page = document.createElement("canvas");
  // @ts-expect-error: raw bytes have no size; use ImageData
  const bytes: ImageSource = new Uint8Array(4);
  // @ts-expect-error: a video is not an image
  const video: ImageSource = document.createElement("video");
  return [new Blob(), "a.png", new URL("https://example.org/a.png"), bitmap, pixels, canvas, image, page, bytes, video];
}

export function errors(error: unknown): ErrorCode | null {
  if (!(error instanceof UniRealError)) {
    return null;
  }
  const asError: Error = error;
  same<Same<typeof error.code, ErrorCode>>();
  same<Same<typeof error.name, "UniRealError">>();
  // @ts-expect-error: a cancelled call rejects with the signal's reason, not with a code
  if (error.code === "abort") return null;
  // @ts-expect-error: unknown code
  new UniRealError("oops", asError.message);
  new UniRealError("network", "no answer", { cause: asError });
  return error.code;
}

export const roles: Record<Role, true> = { canvas: true, asset: true, control: true };
// @ts-expect-error: all seven tags are needed
export const tags: Record<Tag, true> = { "realistic style": true };
// @ts-expect-error: height without width
export const half: GenerateOptions = { prompt: "a red cube", height: 64 };

export async function lifetime(): Promise<void> {
  await using model = await UniReal.load("models/tabletop/");
  same<Same<ReturnType<typeof model.dispose>, Promise<void>>>();
  const stored: number = await UniReal.storedBytes("models/tabletop/");
  // @ts-expect-error: an address is needed
  await UniReal.storedBytes();
  const nothing: void = await UniReal.clearCache("models/tabletop/");
  // @ts-expect-error: dispose takes nothing
  await model.dispose(true);
  void stored;
  return nothing;
}

export async function editor(file: File): Promise<void> {
  const element = document.querySelector("unireal-editor")!;
  same<Same<typeof element, UniRealEditor>>();
  element.pack = "models/tabletop/";
  element.device = "cpu";
  // @ts-expect-error: unknown device
  element.device = "gpu";
  // @ts-expect-error: the model comes from load
  element.model = null;
  const model: Model = await element.load();
  element.images = [{ image: file, role: "canvas" }];
  // @ts-expect-error: a role is needed
  element.images = [{ image: file }];
  const image: Blob = element.images[0]!.image;
  element.request = { steps: 4, seed: undefined, context: ["realistic style"] };
  // @ts-expect-error: unknown tag
  element.request = { context: ["realistic"] };
  same<Same<typeof element.request, EditorRequest>>();
  const result = await element.generate();
  same<Same<typeof result, EditorResult>>();
  element.addEventListener("unireal-result", ({ detail }) => same<Same<typeof detail, EditorResult>>());
  same<Same<typeof result.inputs, readonly EditorImage[]>>();
  element.addEventListener("unireal-shown", ({ detail }) => same<Same<typeof detail.images, readonly File[]>>());
  same<Same<typeof element.sampleSize, number | null>>();
  // @ts-expect-error: the pack defines it
  element.sampleSize = 64;
  element.ideas = ["remove the red cube"];
  // @ts-expect-error: texts are needed
  element.ideas = [1];
  document.addEventListener("unireal-error", ({ detail }) => same<Same<typeof detail.code, ErrorCode>>());
  element.addEventListener("unireal-progress", ({ detail }) => {
    // @ts-expect-error: only a download has bytes
    detail.loaded;
    if (detail.stage === "steps") same<Same<typeof detail.step, number>>();
  });
  element.cancel();
  void [model, image];
}
