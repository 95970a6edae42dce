/** What the demo page says itself; the editor on it has its own words. */

/** What the notice of a new version says. */
export const UPDATE = {
  here: "A new version is here. Updating reloads the page and clears the pictures on it.",
  elsewhere: "This page is open in another tab too, with the old version. Close it there, then update here.",
  running: "Updating…",
};
