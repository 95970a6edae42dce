/** Helpers for all parts of an editor: elements by id, visibility, the status line, events, buttons. */

/**
 * @param {HTMLElement} host the custom element
 * @param {ShadowRoot} root the shadow root, which scopes the ids to this editor
 */
export function view(host, root) {
  /** @param {string} id @returns {any} */
  const get = (id) => root.getElementById(id);

  /** Shows a hint without changing the state. @param {string} text */
  function hint(text) {
    get("status").textContent = text;
  }

  return {
    host,
    root,
    get,
    hint,

    /** @param {string} id @param {boolean} visible */
    show(id, visible) {
      get(id).hidden = !visible;
    },

    /**
     * Sets the status line for users and screen readers, and the state as data attributes for scripts.
     * @param {"checking" | "waiting" | "loading" | "ready" | "working" | "done" | "cancelled" | "error"} state
     * @param {string} text
     * @param {string} [code] of an error
     */
    status(state, text, code = "") {
      Object.assign(get("status").dataset, { state, code });
      hint(text);
    },

    /** Dispatches an event to the page. @param {"ready" | "progress" | "shown" | "result" | "error"} name @param {object} detail */
    emit(name, detail) {
      host.dispatchEvent(new CustomEvent(`unireal-${name}`, { detail, bubbles: true, composed: true }));
    },
  };
}

/** @typedef {ReturnType<typeof view>} View */

/** @param {string} text @param {() => void} onClick @param {string} [label] for screen readers */
export function chip(text, onClick, label) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "chip", textContent: text });
  if (label) {
    button.setAttribute("aria-label", label);
  }
  button.addEventListener("click", onClick);
  return button;
}

/** Creates a button with a title and its description below. @param {string} title @param {string} description @param {() => void} onClick */
export function card(title, description, onClick) {
  const button = chip(title, onClick);
  button.className = "tag";
  button.append(Object.assign(document.createElement("span"), { textContent: description }));
  return button;
}
