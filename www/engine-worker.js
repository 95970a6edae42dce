/** The engine's worker behind promises: calls with progress and abort, each of which settles even if the worker dies. */
import { orAbort } from "./abort.js";
import { UniRealError, fromMessage, requestError } from "./error.js";

/** Milliseconds that a cancelled call may take to end before its worker is terminated. */
const ABORT_TIMEOUT = 10_000;

/** Error codes that replace the worker: its device is lost, or only a new wasm instance frees the memory. */
const REPLACES_WORKER = new Set(["device-lost", "memory"]);

/** A worker that runs worker.js, and its open calls. */
class EngineWorker {
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
   * Calls the engine. An abort rejects immediately with the signal's reason; the worker then has ABORT_TIMEOUT to end the call.
   * @param {string} method
   * @param {object} value
   * @param {{ transfer?: Transferable[], onEvent?: (event: any) => void, signal?: AbortSignal }} [options]
   */
  async call(method, value, { transfer = [], onEvent, signal } = {}) {
    signal?.throwIfAborted();
    if (!this.alive) {
      throw new UniRealError("internal", "the engine's worker has ended");
    }
    const id = this.#next++;
    const answer = new Promise((resolve, reject) => {
      this.#calls.set(id, { event: (event) => signal?.aborted || onEvent?.(event), resolve, reject });
    });
    let timer;
    const abort = () => {
      this.#worker.postMessage({ id, method: "abort" });
      timer = setTimeout(() => this.close(), ABORT_TIMEOUT);
    };
    signal?.addEventListener("abort", abort, { once: true });
    const settled = answer.finally(() => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      this.#calls.delete(id);
      this.#wake();
    });
    try {
      this.#worker.postMessage({ id, method, value }, transfer);
    } catch (cause) {
      this.#calls.get(id).reject(requestError(`a value cannot be sent to the engine: ${cause.message}`, { cause }));
    }
    return orAbort(settled, signal);
  }

  /** Resolves when no call is open. */
  settled() {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#wake();
    });
  }

  /** Terminates the worker when its open calls are settled. Cancelled calls have ABORT_TIMEOUT to end. */
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
      call?.reject(fromMessage(error));
      if (error.fatal || REPLACES_WORKER.has(error.code)) {
        this.close();
      }
    } else {
      call?.resolve(result);
    }
  }
}

/**
 * A worker without a model that a check has started. The next load uses it, so that wasm compiles once.
 * @type {EngineWorker | null}
 */
let idle = null;

/** Returns the idle worker or a new one. The caller owns it. */
export function takeWorker() {
  const worker = idle?.alive ? idle : new EngineWorker();
  idle = null;
  return worker;
}

/**
 * Calls a worker without a model. The worker then stays idle for the next call.
 * @param {string} method
 * @param {object} value
 * @param {AbortSignal} [signal]
 */
export async function callOnIdleWorker(method, value, signal) {
  const worker = takeWorker();
  try {
    return await worker.call(method, value, { signal });
  } finally {
    if (signal?.aborted || idle?.alive) {
      worker.retire();
    } else if (worker.alive) {
      idle = worker;
    }
  }
}
