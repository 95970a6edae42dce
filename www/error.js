/** The error class of the public module, and errors as data in messages of the worker. */

/** @typedef {import("./unireal.d.ts").ErrorCode} ErrorCode */

const CODES = new Set([
  "unsupported", "network", "integrity", "format", "memory", "device-lost", "busy", "request", "internal",
]);

export class UniRealError extends Error {
  /**
   * @param {ErrorCode} code
   * @param {string} message
   * @param {ErrorOptions} [options]
   */
  constructor(code, message, options) {
    super(message, options);
    this.name = "UniRealError";
    this.code = code;
  }
}

/** Returns an error for an invalid request; the message says what is valid. */
export const requestError = (message, options) => new UniRealError("request", message, options);

/** Converts an error that the worker sent as data to an error of the page. */
export function fromMessage({ code, message, cause }) {
  if (code === "abort") {
    return new DOMException(message || "cancelled", "AbortError");
  }
  return new UniRealError(CODES.has(code) ? code : "internal", message, cause && { cause });
}

/** Returns whether an error means that the browser is out of memory. @param {any} error anything may be thrown */
export const isOutOfMemory = (error) => error instanceof RangeError || error?.code === "memory";
