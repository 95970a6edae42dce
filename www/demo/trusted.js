/**
 * Trusted Types: where the browser knows them, the page's policy lets no text become HTML or a script, but what these two
 * rules let through. The editor's fixed markup has a rule of its own (editor/markup.js).
 */

/** The scripts that this page may start, beside the modules it consists of: its workers and the service worker. */
const SCRIPTS = new Set(["www/worker.js", "www/demo/scene-worker.js", "service-worker.js"].map((path) => new URL(path, document.baseURI).href));

globalThis.trustedTypes?.createPolicy("default", {
  createScriptURL(address) {
    const { href } = new URL(address, document.baseURI);
    return SCRIPTS.has(href) ? href : null;
  },
});
