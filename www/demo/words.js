/** What the demo says: plain words for errors, tags, sizes and times. */

/** @type {Record<import("../unireal.d.ts").ErrorCode, { title: string, advice: string }>} */
const ERRORS = {
  unsupported: {
    title: "This browser or device cannot run the model.",
    advice: "Use a current Chrome, Edge, Firefox or Safari, or choose the CPU as device under Settings.",
  },
  network: {
    title: "The download did not get through.",
    advice: "Check the connection and try again. What has arrived is kept.",
  },
  integrity: {
    title: "A file of the model arrived damaged.",
    advice: "Try again. If it comes back, the host serves a changed file.",
  },
  format: {
    title: "The model's files are not what they should be.",
    advice: "The address may be wrong, or the model was made for another version of this page.",
  },
  memory: {
    title: "There is not enough memory.",
    advice: "Close other tabs, ask for fewer results or a smaller picture, or choose the CPU as device under Settings.",
  },
  "device-lost": {
    title: "The graphics device went away.",
    advice: "Press Generate again: the model is reloaded from this browser's storage.",
  },
  busy: {
    title: "One edit is already running.",
    advice: "Wait for it, or cancel it.",
  },
  request: {
    title: "This cannot be done as asked.",
    advice: "Change the prompt or the pictures, and press Generate again.",
  },
  internal: {
    title: "Something broke inside.",
    advice: "Press Generate again: the engine has been restarted. If it comes back, please report the text above.",
  },
};

/**
 * Fills a notice with what went wrong and what to do. Text only: a message may hold a prompt or an address.
 * @param {HTMLElement} box
 * @param {unknown} error
 * @returns {string} the code
 */
export function explain(box, error) {
  const code = error?.code in ERRORS ? error.code : "internal";
  const { title, advice } = ERRORS[code];
  const line = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
  const message = String(error?.message ?? error);
  const start = /^\w+:\/\//.test(message) ? message : message.charAt(0).toUpperCase() + message.slice(1);
  const sentence = start + (/[.!?]$/.test(message) ? "" : ".");
  box.replaceChildren(line("strong", title), line("p", sentence), line("p", advice));
  box.dataset.code = code;
  box.hidden = false;
  return code;
}

/** The context tags, each with what it means. @type {[import("../unireal.d.ts").Tag, string][]} */
export const TAGS = [
  ["realistic style", "Looks like a photograph."],
  ["synthetic style", "Looks made by a program."],
  ["static scenario", "Only what the prompt names changes."],
  ["dynamic scenario", "The rest of the picture may move too."],
  ["with reference object", "A picture shows a thing that is to appear."],
  ["novel scenario", "The result is a new scene."],
  ["perception task", "The result is a mask, a depth map or edges."],
];

/** Tags that contradict each other. */
export const OPPOSITES = new Map([
  ["realistic style", "synthetic style"],
  ["synthetic style", "realistic style"],
  ["static scenario", "dynamic scenario"],
  ["dynamic scenario", "static scenario"],
]);

/** Prompts for pictures that bring none of their own. */
export const IDEAS = ["remove the red cube", "make the ball green", "add a yellow cone", "move the cube to the left"];

/** What the notice of a new version says. */
export const UPDATE = {
  here: "A new version is here. Updating reloads the page and clears the pictures on it.",
  elsewhere: "This page is open in another tab too, with the old version. Close it there, then update here.",
  running: "Updating…",
};

/**
 * What a model takes of this browser's storage.
 * @param {{ bytes: number, promised: boolean }} use whether the browser promised to keep it
 */
export function storage({ bytes: count, promised }) {
  if (count === 0) {
    return "";
  }
  const promise = promised ? "which promised to keep it" : "which may delete it when space runs short";
  return `Takes ${bytes(count)} of the storage of this browser, ${promise}.`;
}

/** @param {number} count bytes */
export function bytes(count) {
  const [unit, scale] = count >= 1e9 ? ["GB", 1e9] : count >= 1e6 ? ["MB", 1e6] : ["kB", 1e3];
  const amount = count / scale;
  return `${amount.toFixed(amount < 100 && unit !== "kB" ? 1 : 0)} ${unit}`;
}

/** @param {number} milliseconds */
export function duration(milliseconds) {
  const seconds = milliseconds / 1000;
  if (seconds < 60) {
    return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  }
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}
