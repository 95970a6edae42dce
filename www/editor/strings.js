/** The editor's strings: errors, tags, tasks, sizes and times. Strings that never change are in markup.js. */
import { isOutOfMemory } from "../error.js";

/** @type {Record<import("../unireal.d.ts").ErrorCode, { title: string, advice: string }>} */
const ERRORS = {
  unsupported: {
    title: "This browser or device cannot run the model.",
    advice: "Use a current Chrome, Edge, Firefox or Safari, or choose the CPU as device under Settings.",
  },
  network: {
    title: "The model could not be downloaded.",
    advice: "Check the connection and try again. The download resumes where it stopped.",
  },
  integrity: {
    title: "A file of the model is damaged.",
    advice: "Try again. If this happens again, the file on the server was changed.",
  },
  format: {
    title: "The model's files cannot be read.",
    advice: "The address may be wrong, or the model was made for another version of this page.",
  },
  memory: {
    title: "There is not enough memory.",
    advice: "Close other tabs, ask for fewer results or a smaller picture, or choose the CPU as device under Settings.",
  },
  "device-lost": {
    title: "The connection to the GPU was lost.",
    advice: "Press Generate again: the model is reloaded from this browser's storage.",
  },
  busy: {
    title: "The model is in use.",
    advice: "Wait for the running request or cancel it, here or in the other tab.",
  },
  request: {
    title: "This request is not possible.",
    advice: "Change the prompt or the pictures, and press Generate again.",
  },
  internal: {
    title: "Something went wrong.",
    advice: "Press Generate again: the model was restarted. If this happens again, please report the text above.",
  },
};

/** Writes a message as a sentence. A URL at its start stays as it is. */
function sentence(message) {
  const start = /^\w+:\/\//.test(message) ? message : message.charAt(0).toUpperCase() + message.slice(1);
  return start + (/[.!?]$/.test(message) ? "" : ".");
}

/**
 * Fills a notice with an error and advice. Text only, because a message may contain a prompt or an address.
 * @param {HTMLElement} box
 * @param {any} error anything may be thrown
 * @returns {string} the code
 */
export function explain(box, error) {
  const code = error?.code in ERRORS ? error.code : "internal";
  const { title, advice } = ERRORS[code];
  const line = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
  box.replaceChildren(line("strong", title), line("p", sentence(String(error?.message ?? error))), line("p", advice));
  box.dataset.code = code;
  box.hidden = false;
  return code;
}

/** Returns why an image could not be drawn or encoded. @param {any} error anything may be thrown */
export const imageFailure = (error) =>
  isOutOfMemory(error) ? MESSAGES.noMemory : MESSAGES.imageFailed(sentence(String(error?.message ?? error)));

/** The context tags and their description. @type {[import("../unireal.d.ts").Tag, string][]} */
export const TAGS = [
  ["realistic style", "Looks like a photograph."],
  ["synthetic style", "Looks computer-generated."],
  ["static scenario", "Only what the prompt names changes."],
  ["dynamic scenario", "The rest of the picture may move too."],
  ["with reference object", "One of your pictures shows an object to add."],
  ["novel scenario", "The result is a new scene."],
  ["perception task", "The result is a mask, a depth map or edges."],
];

/** Tags that contradict each other. @type {Map<import("../unireal.d.ts").Tag, import("../unireal.d.ts").Tag>} */
export const OPPOSITES = new Map([
  ["realistic style", "synthetic style"],
  ["synthetic style", "realistic style"],
  ["static scenario", "dynamic scenario"],
  ["dynamic scenario", "static scenario"],
]);

/** Text for the absence of chosen tags. */
export const CONTEXT = { automatic: "automatic", description: "Chosen from your prompt and your pictures." };

/** Ideas for the prompt if the task or the image has none. */
export const IDEAS = ["remove the red cube", "make the ball green", "add a yellow cone", "move the cube to the left"];

/**
 * The tasks to start from. `needs` are the images in order; `painted` images are painted in the editor; `others` is the role of further images; `context` are the tags, null to derive them.
 * @typedef {{ title: string, description: string, question?: string, placeholder: string, ideas: string[],
 *   needs: { role: import("../unireal.d.ts").Role, description: string, painted?: boolean }[],
 *   others?: import("../unireal.d.ts").Role, context: import("../unireal.d.ts").Tag[] | null }} Task
 * @type {Record<string, Task>}
 */
export const TASKS = {
  edit: {
    title: "Edit",
    description: "Change something in a picture.",
    placeholder: "remove the red cube",
    ideas: IDEAS,
    needs: [{ role: "canvas", description: "the picture to edit" }],
    context: null,
  },
  insert: {
    title: "Insert an object",
    description: "Take it from one picture, put it into another.",
    placeholder: "put the ball of IMG2 into IMG1",
    ideas: ["put the ball of IMG2 into IMG1", "add the red cube from IMG2 to IMG1", "insert the cone of IMG2 in IMG1"],
    needs: [{ role: "canvas", description: "the picture to edit" }, { role: "asset", description: "a picture with the object" }],
    context: null,
  },
  scene: {
    title: "Put objects in a new scene",
    description: "Your objects, in a picture that is new.",
    placeholder: "the ball of IMG1 in a new scene",
    ideas: ["the ball of IMG1 in a new scene", "a new picture of the cube of IMG1", "the cube of IMG1 and the ball of IMG2 in a new scene"],
    needs: [{ role: "asset", description: "a picture with an object" }],
    others: "asset",
    context: null,
  },
  find: {
    title: "Find an object",
    description: "Makes a mask that is white where the object is.",
    question: "What should be found?",
    placeholder: "where is the red cube?",
    ideas: ["where is the red cube?", "segment the ball", "mark the cone in white", "the mask of the large ring"],
    needs: [{ role: "canvas", description: "the picture to search" }],
    context: ["realistic style", "perception task"],
  },
  make: {
    title: "Make a picture",
    description: "From your description alone.",
    question: "What should the picture show?",
    placeholder: "a red cube and a blue ball on a wooden table",
    ideas: ["a red cube and a blue ball", "a green cone on a white table", "a yellow ring beside a black cylinder"],
    needs: [],
    context: null,
  },
  fill: {
    title: "Fill a painted area",
    description: "Paint the area where something should appear.",
    placeholder: "add a yellow cone, where IMG2 is white",
    ideas: ["add a yellow cone, where IMG2 is white", "add a small red ball, where IMG2 is white", "put a blue cube, following the mask of IMG2"],
    needs: [{ role: "canvas", description: "the picture to edit" }, { role: "control", description: "the painted area", painted: true }],
    context: null,
  },
};

const percent = (fraction) => `${Math.round(100 * fraction)}%`;

/** Messages for the status line and notices. */
export const MESSAGES = {
  // The model
  checking: "Checking the model…",
  oneTime: "A one-time download. The browser stores it, so your next visit starts at once.",
  gettingReady: "Getting ready…",
  starting: "Starting…",
  downloading: "Downloading…",
  loading: "Loading the model.",
  loadFailed: "The model could not be loaded.",
  notDeleted: "The model could not be deleted.",
  ready: "The model is ready.",
  runningOn: (device, details, model) => `Running on the ${device === "cpu" ? "CPU" : "GPU"}${details ? ` (${details})` : ""}. Model: ${model}.`,
  resumes: "The download resumes where it stopped.",
  stopped: "Download stopped.",
  tryAgain: "Try again",
  download: "Download the model",
  stillLoading: "The model is still loading; one moment.",
  downloadFirst: "First download the model, at the top.",

  // Images
  noMemory: "There is not enough memory for that; close other tabs and try again.",
  imageFailed: (reason) => `This did not work: ${reason}`,
  notAnImage: (name) => `${name || "This"} is not a picture that this browser can read.`,
  notFetched: (name) => `The picture ${name} could not be fetched; check its address and the connection.`,
  tooManyImages: (max) => `You can use at most ${max} pictures.`,
  oneImage: "Your picture",
  severalImages: "Your pictures",
  /** What the model does with an image, as short labels and as options. */
  roles: { canvas: "Edit", asset: "Use object", control: "Follow shape" },
  writeName: (name) => `Write ${name} into the prompt`,
  writeNameLabel: (name) => `${name}: write it into the prompt`,
  role: (name) => `Role of ${name}`,
  remove: (name) => `Remove ${name}`,
  earlier: (name) => `Move ${name} one place earlier`,
  drag: (name) => `${name}: drag to another place`,
  moved: (before, after) => `${before} is now ${after}.`,
  dropOnPage: "or drop it anywhere on this page, or paste it",
  dropHere: "or drop it here, or paste it",
  chooseImage: "Choose a picture",
  choose: (description) => `Choose ${description}`,
  needed: (descriptions) => `Still to add: ${descriptions.join(", then ")}.`,
  paintNow: "Now paint the area to change.",
  fromLink: (count) => `The link contains the prompt and the settings, but no ${count === 1 ? "picture" : "pictures"}.`,
  linkRoles: { canvas: "a picture to edit", asset: "a picture with an object to use", control: "a picture whose shape to follow" },

  // Prompt
  question: "What should change?",
  useIdea: (text) => `Use the prompt: ${text}`,
  useExample: (text) => `Use this picture: ${text}`,
  noExample: "The example could not be fetched; check the connection.",
  nowGenerate: "Now press Generate.",
  nowPrompt: "Now describe the change, or choose an idea from below.",

  // A request
  working: "Working on it.",
  reading: "Reading the prompt and the pictures…",
  step: (step, steps) => (step < steps ? `Step ${step} of ${steps}` : "Finishing…"),
  ofVariations: (text, number, count) => `Picture ${number} of ${count}: ${text.charAt(0).toLowerCase()}${text.slice(1)}`,
  remaining: (time) => `about ${time} left`,
  cancelled: "Cancelled.",
  cancelledSome: (done, count) => `Cancelled after ${done} of ${count} pictures.`,
  failed: "This did not work; the reason is shown with the result.",
  done: (time) => `Done in ${time}.`,
  doneSome: (count, time) => `${count} pictures in ${time}. Choose the one that you like.`,
  resultLabel: (preview, number, count) => `${preview ? "Preview" : "Result"}${count > 1 ? ` ${number} of ${count}` : ""}`,

  // Actions on a result
  nowInput: "The result is now the picture to edit.",
  copied: "The picture is copied.",
  notCopied: "This browser did not allow copying the picture; use Download.",
  shares: (after) => `${after}% after, ${100 - after}% before`,
  linkCopied: "The link is copied. It contains your prompt and settings, but no pictures.",
  linkShown: "Copy this link. It contains your prompt and settings, but no pictures.",

  // History
  restored: "The earlier state is restored.",
  historyStep: (number, prompt) => `Result ${number}: ${prompt}`,

  // The painter
  /** @param {import("./strokes.js").Rectangle} rectangle */
  rectangle: ({ x, y, width, height }) =>
    `Rectangle: ${percent(x)} from the left, ${percent(y)} from the top, ${percent(width)} wide, ${percent(height)} high.`,
  painted: (count) => (count === 0 ? "Nothing is painted." : `${count} ${count === 1 ? "area is" : "areas are"} painted.`),
  extended: "The picture now has a grey border, and the border is painted.",
};

/**
 * Describes a model's use of this browser's storage.
 * @param {{ bytes: number, persistent: boolean }} usage
 */
export function storage({ bytes: count, persistent }) {
  if (count === 0) {
    return "";
  }
  const promise = persistent ? "It stays until you delete it." : "The browser may delete it when storage runs low.";
  return `Uses ${bytes(count)} of this browser's storage. ${promise}`;
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
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** @param {number} steps */
export const stepCount = (steps) => `${steps} ${steps === 1 ? "step" : "steps"}`;

/**
 * Describes the duration of a request.
 * @param {import("../unireal.d.ts").Timings} timings
 * @param {number} steps
 * @param {number} seed
 */
export function times({ text, encode, sample, decode, total }, steps, seed) {
  const parts = [
    `${duration(total)} in total`,
    `reading ${duration(text + encode)}`,
    `${stepCount(steps)} in ${duration(sample)}`,
    `decoding ${duration(decode)}`,
    `seed ${seed}`,
  ];
  return parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" · ");
}
