/** The demo page's strings; the editor has its own. */

/** Messages about new scenes. */
export const SCENE = {
  making: "Drawing and rendering…",
  made: (count) => `Here it is, with ${count === 1 ? "something" : `${count} things`} to ask of it under the prompt. Ask for one as it stands there, and the true answer comes with the result.`,
  failed: "The scene could not be made; check the connection and try again.",
  answer: "True answer",
  answerTo: (prompt) => `The true answer to: ${prompt}`,
};

/** Messages about a new version. */
export const UPDATE = {
  here: "A new version is here. Updating reloads the page and clears the pictures on it.",
  elsewhere: "This page is open in another tab too, with the old version. Close it there, then update here.",
  running: "Updating…",
};
