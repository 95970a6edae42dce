/** The one error of the public module, and how errors look when they cross the worker as data. */

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

/** An error in the request itself; the message says what would be right. */
export const refuse = (message, options) => new UniRealError("request", message, options);

/** The error that the page sees for an error that crossed the worker as data. */
export function thrown({ code, message, cause }) {
  if (code === "abort") {
    return new DOMException(message || "cancelled", "AbortError");
  }
  return new UniRealError(CODES.has(code) ? code : "internal", message, cause && { cause });
}
