/** The editor's strings: errors, tags, tasks, sizes and times. Strings that never change are in markup.js. */

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
    title: "The model is in use.",
    advice: "Wait for what runs, or cancel it, here or in the other tab.",
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
 * Fills a notice with an error and advice. Text only, because a message may contain a prompt or an address.
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

/** The context tags and their meaning. @type {[import("../unireal.d.ts").Tag, string][]} */
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

/** Text for the absence of chosen tags. */
export const CONTEXT = { automatic: "automatic", meaning: "Derived from your pictures and their roles." };

/** Prompts for images that have none of their own. */
export const IDEAS = ["remove the red cube", "make the ball green", "add a yellow cone", "move the cube to the left"];

/**
 * The tasks to start from. `needs` are the images in order with their description; `painted` images are painted in the
 * editor; `others` is the role of further images; `context` are the tags, null to derive them.
 * @typedef {{ title: string, meaning: string, question?: string, placeholder: string, ideas: string[],
 *   needs: { role: import("../unireal.d.ts").Role, what: string, painted?: boolean }[],
 *   others?: import("../unireal.d.ts").Role, context: import("../unireal.d.ts").Tag[] | null }} Task
 * @type {Record<string, Task>}
 */
export const TASKS = {
  edit: {
    title: "Edit",
    meaning: "Change something in a picture.",
    placeholder: "remove the red cube",
    ideas: IDEAS,
    needs: [{ role: "canvas", what: "the picture to edit" }],
    context: null,
  },
  insert: {
    title: "Insert an object",
    meaning: "Take it from one picture, put it into another.",
    placeholder: "put the ball of IMG2 into IMG1",
    ideas: ["put the ball of IMG2 into IMG1", "add the red cube from IMG2 to IMG1", "insert the cone of IMG2 in IMG1"],
    needs: [{ role: "canvas", what: "the picture to edit" }, { role: "asset", what: "a picture with the object" }],
    context: null,
  },
  scene: {
    title: "Put objects in a new scene",
    meaning: "Your objects, in a picture that is new.",
    placeholder: "the ball of IMG1 in a new scene",
    ideas: ["the ball of IMG1 in a new scene", "a new picture of the cube of IMG1", "the cube of IMG1 and the ball of IMG2 in a new scene"],
    needs: [{ role: "asset", what: "a picture with an object" }],
    others: "asset",
    context: null,
  },
  find: {
    title: "Find an object",
    meaning: "Makes a mask: white where the object is.",
    question: "What should be found?",
    placeholder: "where is the red cube?",
    ideas: ["where is the red cube?", "segment the ball", "mark the cone in white", "the mask of the large ring"],
    needs: [{ role: "canvas", what: "the picture to look at" }],
    context: ["realistic style", "perception task"],
  },
  make: {
    title: "Make a picture",
    meaning: "From your words alone.",
    question: "What should the picture show?",
    placeholder: "a red cube and a blue ball on a wooden table",
    ideas: ["a red cube and a blue ball", "a green cone on a white table", "a yellow ring beside a black cylinder"],
    needs: [],
    context: null,
  },
  fill: {
    title: "Fill a painted area",
    meaning: "Paint where something is to appear.",
    placeholder: "add a yellow cone, where IMG2 is white",
    ideas: ["add a yellow cone, where IMG2 is white", "add a small red ball, where IMG2 is white", "put a blue cube, following the mask of IMG2"],
    needs: [{ role: "canvas", what: "the picture to edit" }, { role: "control", what: "the painted area", painted: true }],
    context: null,
  },
};

/** Messages for the status line and notices. */
export const SAY = {
  // The model
  looking: "Looking at what it needs…",
  oneTime: "A one-time download. It is kept in this browser, so the next visit starts at once.",
  gettingReady: "Getting ready…",
  starting: "Starting…",
  downloading: "Downloading…",
  loading: "Loading the model.",
  loadFailed: "The model could not be loaded.",
  notDeleted: "The model could not be deleted.",
  ready: "The model is ready.",
  stoppedKept: "Stopped. What has arrived is kept.",
  stopped: "Download stopped.",
  tryAgain: "Try again",
  download: "Download the model",
  stillLoading: "The model is still loading; one moment.",
  downloadFirst: "First download the model, at the top.",

  // Pictures
  notAPicture: (name) => `${name || "What was given"} is not a picture that this browser can read.`,
  notFetched: (name) => `The picture ${name} could not be fetched; check its address and the connection.`,
  mostPictures: (most) => `${most} pictures are the most that a prompt can name.`,
  onePicture: "Your picture",
  pictures: "Your pictures",
  writeName: (name) => `Write ${name} into the prompt`,
  writeNameLabel: (name) => `${name}: write it into the prompt`,
  role: (name) => `Role of ${name}`,
  remove: (name) => `Remove ${name}`,
  earlier: (name) => `Move ${name} one place earlier`,
  drag: (name) => `${name}: drag to another place`,
  moved: (name, role) => `The ${role} is now ${name}.`,
  dropOnPage: "or drop it anywhere on this page, or paste it",
  dropHere: "or drop it here, or paste it",
  choosePicture: "Choose a picture",
  choose: (what) => `Choose ${what}`,
  needed: (whats) => `Still to add: ${whats.join(", then ")}.`,
  paintNow: "Now paint the area that is to change.",
  fromLink: (count) => `This link brings words and settings, no ${count === 1 ? "picture" : "pictures"}.`,
  linkRoles: { canvas: "a picture to edit (canvas)", asset: "a picture that shows a thing (asset)", control: "a picture whose shape is followed (control)" },

  // Prompt
  question: "What should change?",
  useIdea: (text) => `Use the prompt: ${text}`,
  useExample: (text) => `Use this picture: ${text}`,
  noExample: "The example could not be fetched; check the connection.",
  nowGenerate: "Now press Generate.",
  nowWords: "Now say it in words, or take an idea from below.",

  // A request
  working: "Working on it.",
  reading: "Reading the prompt and the pictures…",
  step: (step, steps) => (step < steps ? `Step ${step} of ${steps}` : "Finishing…"),
  ofVariations: (text, number, count) => `Picture ${number} of ${count}: ${text.charAt(0).toLowerCase()}${text.slice(1)}`,
  left: (time) => `about ${time} left`,
  cancelled: "Cancelled.",
  cancelledSome: (made, count) => `Cancelled; ${made} of ${count} pictures were made.`,
  failed: "That did not work; the reason is shown with the result.",
  done: (time) => `Done in ${time}.`,
  doneSome: (count, time) => `${count} pictures in ${time}. Choose the one that you like.`,
  picture: (preview, number, count) => `${preview ? "Preview" : "Result"}${count > 1 ? ` ${number} of ${count}` : ""}`,

  // Actions on a result
  nowInput: "The result is now the picture to edit.",
  copied: "The picture is copied; paste it where you want it.",
  notCopied: "This browser did not let the picture be copied; use Download.",
  notSaved: "There was no memory for the file; close other tabs and try again.",
  shares: (after) => `${after}% after, ${100 - after}% before`,
  linkCopied: "The link is copied. It holds your words and settings, never your pictures.",
  linkShown: "Copy this link. It holds your words and settings, never your pictures.",

  // History
  back: "This is how it was.",
  historyStep: (number, prompt) => `Result ${number}: ${prompt}`,

  // The painter
  rectangle: ({ x, y, width, height }) => `Rectangle: ${x}% from the left, ${y}% from the top, ${width}% wide, ${height}% high.`,
  painted: (count) => (count === 0 ? "Nothing is painted." : `${count} ${count === 1 ? "area is" : "areas are"} painted.`),
  noMemory: "There is not enough memory for that; close other tabs and try again.",
  extended: "The picture has a grey border now, and the border is painted.",
};

/**
 * Describes a model's use of this browser's storage.
 * @param {{ bytes: number, promised: boolean }} use whether the storage is persistent
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
    `${duration(total)} in all`,
    `reading ${duration(text + encode)}`,
    `${stepCount(steps)} in ${duration(sample)}`,
    `decoding ${duration(decode)}`,
    `seed ${seed}`,
  ];
  return parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" · ");
}
