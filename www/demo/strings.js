/** The demo page's strings; the editor has its own. */

/** Messages about new scenes. */
export const SCENE = {
  rendering: "Rendering the scene…",
  ready: (count) => `Here is your scene, with ${count === 1 ? "an idea" : `${count} ideas`} below the prompt. Use an idea unchanged to see the correct result beside the model's.`,
  failed: "The scene could not be rendered; check the connection and try again.",
  groundTruth: "Correct result",
  groundTruthOf: (prompt) => `The correct result of: ${prompt}`,
};

/** Messages about a new version. */
export const UPDATE = {
  available: "A new version is available. Updating reloads the page and removes your pictures from it.",
  elsewhere: "This page is also open in another tab. Close it there, then update here.",
  running: "Updating…",
};
