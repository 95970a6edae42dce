/** Reorders a list by dragging an item's handle with mouse, finger or pen. The keyboard uses separate buttons. */

/** Number of pixels that a press may move before it becomes a drag. */
const SLACK = 6;

/** Returns the index of the element that contains a point, or -1. */
function placeAt(elements, { clientX, clientY }) {
  return elements.findIndex((element) => {
    const { left, right, top, bottom } = element.getBoundingClientRect();
    return clientX >= left && clientX < right && clientY >= top && clientY < bottom;
  });
}

/**
 * @param {HTMLElement} handle
 * @param {{ element: HTMLElement, others: () => HTMLElement[], onDrop: (place: number) => void }} options the item, all items in
 *   order, and the callback for the index where the item is dropped
 */
export function draggable(handle, { element, others, onDrop }) {
  let start = null;

  function mark(place) {
    others().forEach((other, index) => other.classList.toggle("target", index === place && other !== element));
  }

  function end() {
    start = null;
    element.classList.remove("dragged");
    element.style.removeProperty("translate");
    mark(-1);
  }

  handle.addEventListener("pointerdown", (event) => {
    if (event.button === 0 && others().length > 1) {
      event.preventDefault();
      handle.setPointerCapture(event.pointerId);
      start = { x: event.clientX, y: event.clientY };
    }
  });
  handle.addEventListener("pointermove", (event) => {
    const [x, y] = start ? [event.clientX - start.x, event.clientY - start.y] : [0, 0];
    if (element.classList.contains("dragged") || Math.hypot(x, y) > SLACK) {
      element.classList.add("dragged");
      element.style.setProperty("translate", `${x}px ${y}px`);
      mark(target(event));
    }
  });
  handle.addEventListener("pointerup", (event) => {
    const place = element.classList.contains("dragged") ? target(event) : -1;
    end();
    if (place >= 0) {
      onDrop(place);
    }
  });
  handle.addEventListener("pointercancel", end);

  /** Returns the index of the item under the pointer, not counting the dragged item, or -1. */
  function target(event) {
    const all = others();
    const under = all.filter((other) => other !== element);
    const found = placeAt(under, event);
    return found < 0 ? -1 : all.indexOf(under[found]);
  }
}
