/** The engine's worker behind promises: calls with progress and abort, each of which settles even if the worker dies. */
import { UniRealError, thrown } from "./error.js";

/** Milliseconds that a cancelled call may take to end before its worker is terminated. */
const GRACE = 10_000;

/** Error codes that replace the worker: its device is lost, or only a new wasm instance frees the memory. */
const REPLACES_WORKER = new Set(["device-lost", "memory"]);

/** A worker and its open calls. */
class Host {
  #worker;
  #calls = new Map();
  #waiting = [];
  #next = 0;
  alive = true;

  constructor() {
    for (const name of ["Worker", "WebAssembly", "OffscreenCanvas", "createImageBitmap"]) {
      if (!(name in globalThis)) {
        throw new UniRealError("unsupported", `this browser has no ${name}; a current one is needed`);
      }
    }
    try {
      this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    } catch (cause) {
      throw new UniRealError("unsupported", "the worker may not start here; serve it from the page's own origin", { cause });
    }
    this.#worker.onmessage = ({ data }) => this.#receive(data);
    this.#worker.onmessageerror = () => this.close(new UniRealError("internal", "a message of the engine cannot be read"));
    this.#worker.onerror = (event) => {
      event.preventDefault();
      // A script that ran has a message in its error event. An event without one means that the script or one of its imports did
      // not load.
      this.close(event.message
        ? new UniRealError("internal", `the engine stopped: ${event.message}`, { cause: event.error ?? undefined })
        : new UniRealError("network", `the engine did not load from ${import.meta.url.replace(/[^/]*$/, "")}`));
    };
  }

  /**
   * Calls the engine. An abort rejects immediately with the signal's reason; the worker then has GRACE to end the call.
   * @param {string} method
   * @param {object} value
   * @param {{ transfer?: Transferable[], onEvent?: (event: any) => void, signal?: AbortSignal }} [options]
   */
  call(method, value, { transfer = [], onEvent, signal } = {}) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        return reject(signal.reason);
      }
      if (!this.alive) {
        return reject(new UniRealError("internal", "the engine's worker has ended"));
      }
      const id = this.#next++;
      let timer;
      const abort = () => {
        reject(signal.reason);
        this.#worker.postMessage({ id, method: "abort" });
        timer = setTimeout(() => this.close(), GRACE);
      };
      signal?.addEventListener("abort", abort, { once: true });
      const finish = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.#calls.delete(id);
        this.#wake();
      };
      this.#calls.set(id, {
        event: (event) => signal?.aborted || onEvent?.(event),
        resolve: (result) => (finish(), resolve(result)),
        reject: (error) => (finish(), reject(error)),
      });
      try {
        this.#worker.postMessage({ id, method, value }, transfer);
      } catch (cause) {
        this.#calls.get(id).reject(new UniRealError("internal", "the request cannot be sent to the engine", { cause }));
      }
    });
  }

  /** Resolves when no call is open. */
  settled() {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#wake();
    });
  }

  /** Terminates the worker when its open calls are settled. Cancelled calls have GRACE to end. */
  retire() {
    this.settled().then(() => this.close());
  }

  /** Terminates the worker now; open calls reject with `reason`. */
  close(reason = new UniRealError("internal", "the engine's worker was ended")) {
    this.alive = false;
    this.#worker.terminate();
    for (const call of [...this.#calls.values()]) {
      call.reject(reason);
    }
  }

  #wake() {
    if (this.#calls.size === 0) {
      this.#waiting.splice(0).forEach((resolve) => resolve());
    }
  }

  #receive({ id, event, result, error }) {
    const call = this.#calls.get(id);
    if (event) {
      call?.event(event);
    } else if (error) {
      call?.reject(thrown(error));
      if (error.fatal || REPLACES_WORKER.has(error.code)) {
        this.close();
      }
    } else {
      call?.resolve(result);
    }
  }
}

/** A worker without a model that a check has started. The next load uses it, so that wasm compiles once. */
let spare = null;

/** Returns the spare worker or a new one. */
export function take() {
  const host = spare?.alive ? spare : new Host();
  spare = null;
  return host;
}

/** Calls a worker without a model, and keeps that worker for the next call. */
export async function callOnSpare(method, value, signal) {
  const host = take();
  try {
    return await host.call(method, value, { signal });
  } finally {
    if (signal?.aborted || spare?.alive) {
      host.retire();
    } else if (host.alive) {
      spare = host;
    }
  }
}
