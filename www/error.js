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
export const refuse = (message, options) => new UniRealError("request", message, options);

/** Returns the error for the page from an error that the worker sent as data. */
export function thrown({ code, message, cause }) {
  if (code === "abort") {
    return new DOMException(message || "cancelled", "AbortError");
  }
  return new UniRealError(CODES.has(code) ? code : "internal", message, cause && { cause });
}
