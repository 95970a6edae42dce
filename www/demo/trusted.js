/**
 * Trusted Types: in browsers that support them, only this default policy and the editor's policy for its fixed markup
 * (editor/markup.js) turn text into scripts or HTML.
 */

/** The script URLs that this page may load besides its modules: its workers and the service worker. */
const SCRIPTS = new Set(["www/worker.js", "www/demo/scene-worker.js", "service-worker.js"].map((path) => new URL(path, document.baseURI).href));

globalThis.trustedTypes?.createPolicy("default", {
  createScriptURL(address) {
    const { href } = new URL(address, document.baseURI);
    return SCRIPTS.has(href) ? href : null;
  },
});
