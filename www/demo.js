/** The demo page: the editor with the pack and device of the page's query, new scenes, and updates of the page. */
import "./demo/trusted.js";
import "./editor.js";
import * as scenes from "./demo/scenes.js";
import * as updates from "./demo/updates.js";

const editor = document.querySelector("unireal-editor");
const query = new URLSearchParams(location.search);
for (const name of ["pack", "device"]) {
  if (query.get(name)) {
    editor.setAttribute(name, query.get(name));
  }
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  editor.focus();
});

scenes.start(editor);
updates.start("./service-worker.js");
