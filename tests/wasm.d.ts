/** The wasm modules that scripts/build generates, for checking the types of www/. Their Rust is src/web/engine.rs and crates/tabletop/src/page.rs. */

declare module "*/wasm/unireal.js" {
  type Pixels = { width: number; height: number; data: Uint8Array<ArrayBuffer> };
  type Step = { step: number; steps: number; preview: Pixels[] | null };

  export default function init(): Promise<unknown>;

  export class Engine {
    static check(url: string, device: import("../www/unireal.js").Device, cachePath: string | null): Promise<import("../www/unireal.js").Support>;
    static open(url: string, options: object, onProgress: (event: object) => Promise<void>, signal: AbortSignal): Promise<Engine>;
    static usesShader(code: string): boolean;
    info(): import("../www/unireal.js").ModelInfo;
    generate(request: object, onStep: (step: Step) => Promise<void>, signal: AbortSignal): Promise<{
      images: Pixels[];
      seed: number;
      timings: import("../www/unireal.js").Timings;
    }>;
    free(): void;
  }
}

declare module "*/wasm/tabletop.js" {
  export default function init(): Promise<unknown>;

  export class Tabletop {
    constructor(number: number, side: number);
    instructions(): string[];
    before(): Uint8Array<ArrayBuffer>;
    after(instruction: number): Uint8Array<ArrayBuffer>;
  }
}
