/** What every part of the demo uses: elements by id, visibility, the one status line, buttons that are chips. */

/** @param {string} id @returns {any} */
export const get = (id) => document.getElementById(id);

/** @param {string} id @param {boolean} visible */
export function show(id, visible) {
  get(id).hidden = !visible;
}

/**
 * One sentence for people and screen readers, and the state for whoever drives the page.
 * @param {"checking" | "waiting" | "loading" | "ready" | "working" | "done" | "cancelled" | "error"} state
 * @param {string} text
 * @param {string} [code] of an error
 */
export function status(state, text, code = "") {
  Object.assign(get("status").dataset, { state, code });
  hint(text);
}

/** A word of help that changes no state. @param {string} text */
export function hint(text) {
  get("status").textContent = text;
}

/** @param {string} text @param {() => void} onClick @param {string} [label] for screen readers */
export function chip(text, onClick, label) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "chip", textContent: text });
  if (label) {
    button.setAttribute("aria-label", label);
  }
  button.addEventListener("click", onClick);
  return button;
}
