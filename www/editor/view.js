/** What every part of one editor uses: its elements by id, visibility, the one status line, events, buttons that are chips. */

/**
 * @param {HTMLElement} host the custom element
 * @param {ShadowRoot} root where ids belong to this editor alone
 */
export function view(host, root) {
  /** @param {string} id @returns {any} */
  const get = (id) => root.getElementById(id);

  /** A word of help that changes no state. @param {string} text */
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
     * One sentence for people and screen readers, and the state for whoever drives the page.
     * @param {"checking" | "waiting" | "loading" | "ready" | "working" | "done" | "cancelled" | "error"} state
     * @param {string} text
     * @param {string} [code] of an error
     */
    status(state, text, code = "") {
      Object.assign(get("status").dataset, { state, code });
      hint(text);
    },

    /** Tells the page that holds the editor. @param {"ready" | "progress" | "shown" | "result" | "error"} name @param {object} detail */
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

/** A button with a title and below it what it means. @param {string} title @param {string} meaning @param {() => void} onClick */
export function card(title, meaning, onClick) {
  const button = chip(title, onClick);
  button.className = "tag";
  button.append(Object.assign(document.createElement("span"), { textContent: meaning }));
  return button;
}
