/** Accepts dropped and pasted images, on the editor or on the whole page. */

/**
 * @param {HTMLElement | Window} where
 * @param {HTMLElement} veil overlay that is shown during a drag
 * @param {(files: File[]) => void} add
 * @param {AbortSignal} signal removes the listeners
 */
export function acceptPictures(where, veil, add, signal) {
  const on = (type, listener) => where.addEventListener(type, listener, { signal });
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0;
  const cover = (change) => {
    depth = Math.max(0, depth + change);
    veil.hidden = depth === 0;
  };
  on("dragenter", (event) => carries(event) && cover(1));
  on("dragleave", (event) => carries(event) && cover(-1));
  on("dragover", (event) => carries(event) && event.preventDefault());
  on("drop", (event) => {
    if (carries(event)) {
      event.preventDefault();
      cover(-depth);
      add([...event.dataTransfer.files]);
    }
  });
  // Spreadsheets and word processors put an image of the text on the clipboard too: a text field takes the text.
  const writes = (event) =>
    event.composedPath()[0]?.matches?.("input, textarea, [contenteditable]") && event.clipboardData?.types.includes("text/plain");
  on("paste", (event) => {
    if (writes(event)) {
      return;
    }
    const files = [...(event.clipboardData?.files ?? [])].filter(({ type }) => type.startsWith("image/"));
    if (files.length > 0) {
      event.preventDefault();
      add(files);
    }
  });
}
