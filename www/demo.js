/** The demo page: the editor with the pack and device of the page's query, new scenes, and updates of the page. */
import "./demo/trusted.js";
import "./editor.js";
import * as scenes from "./demo/scenes.js";
import * as updates from "./demo/updates.js";

// Both elements are in index.html.
const editor = /** @type {import("./editor.js").UniRealEditor} */ (document.querySelector("unireal-editor"));
const skip = /** @type {HTMLElement} */ (document.querySelector(".skip"));
const query = new URLSearchParams(location.search);
for (const name of ["pack", "device"]) {
  const value = query.get(name);
  if (value) {
    editor.setAttribute(name, value);
  }
}

skip.addEventListener("click", (event) => {
  event.preventDefault();
  editor.focus();
});

scenes.start(editor);
updates.start("./service-worker.js");
