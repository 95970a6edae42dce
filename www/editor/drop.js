/** Accepts dropped and pasted images, on the editor or on the whole page. */

/**
 * @param {HTMLElement | Window} target
 * @param {HTMLElement} veil overlay that is shown during a drag
 * @param {(files: File[]) => void} add
 * @param {AbortSignal} signal removes the listeners
 */
export function acceptImages(target, veil, add, signal) {
  const on = (type, listener) => target.addEventListener(type, listener, { signal });
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0;
  const showVeil = (change) => {
    depth = Math.max(0, depth + change);
    veil.hidden = depth === 0;
  };
  on("dragenter", (event) => hasFiles(event) && showVeil(1));
  on("dragleave", (event) => hasFiles(event) && showVeil(-1));
  on("dragover", (event) => hasFiles(event) && event.preventDefault());
  on("drop", (event) => {
    if (hasFiles(event)) {
      event.preventDefault();
      showVeil(-depth);
      add([...event.dataTransfer.files]);
    }
  });
  // Spreadsheets and word processors put an image of the text on the clipboard too: a text field takes the text.
  const isTextPaste = (event) =>
    event.composedPath()[0]?.matches?.("input, textarea, [contenteditable]") && event.clipboardData?.types.includes("text/plain");
  on("paste", (event) => {
    if (isTextPaste(event)) {
      return;
    }
    const files = [...(event.clipboardData?.files ?? [])].filter(({ type }) => type.startsWith("image/"));
    if (files.length > 0) {
      event.preventDefault();
      add(files);
    }
  });
}
