/** The tasks to start from: each sets the roles, the tags and the ideas for the prompt, and lists the images it needs. */
import { card } from "./view.js";
import { MESSAGES, TASKS } from "./strings.js";

/** Returns the needed images that are not in the list. @param {import("./strings.js").Task["needs"]} needs */
function missingFrom(list, needs) {
  const roles = list.map(({ role }) => role);
  return needs.filter(({ role }) => {
    const at = roles.indexOf(role);
    roles.splice(at, at < 0 ? 0 : 1);
    return at < 0;
  });
}

export class Tasks {
  #view;
  #parts;
  /** Images that the current task or link needs. @type {import("./strings.js").Task["needs"]} */
  #needs = [];

  /**
   * @param {import("./view.js").View} view
   * @param {{ inputs: import("./images.js").InputImages, prompts: any, settings: import("./settings.js").Settings,
   *   saveState: () => void, paint: () => void }} parts `saveState` adds the current state to the history, `paint` opens the painter
   */
  constructor(view, parts) {
    this.#view = view;
    this.#parts = parts;
    for (const [id, { title, description }] of Object.entries(TASKS)) {
      const button = card(title, description, () => this.#choose(id));
      button.dataset.task = id;
      button.setAttribute("aria-pressed", "false");
      view.get("tasks").append(button);
    }
    view.get("paint").addEventListener("click", parts.paint);
    this.draw();
  }

  /** Shows which images are missing, in the wording of the task or link. */
  draw() {
    const { get, show } = this.#view;
    const list = this.#parts.inputs.list();
    const missing = missingFrom(list, this.#needs);
    // A control image of a link may be a painted mask too.
    const canPaint = this.#needs.some(({ role }) => role === "control") && list.some(({ role }) => role === "canvas");
    const toAdd = missing.filter(({ painted }) => !painted);
    const isPaintingNext = missing.length > toAdd.length;
    get("needs").textContent = toAdd.length > 0 && (list.length > 0 || this.#needs.length > 1)
      ? MESSAGES.needed(toAdd.map(({ description }) => description))
      : canPaint && isPaintingNext ? MESSAGES.paintNow : "";
    get("drop-title").textContent = toAdd.length > 0 ? MESSAGES.choose(toAdd[0].description) : MESSAGES.chooseImage;
    show("paint", canPaint);
    get("paint").classList.toggle("primary", isPaintingNext);
  }

  /** Requests the images of a link. @param {import("../unireal.d.ts").Role[]} roles */
  ask(roles) {
    this.#needs = roles.map((role) => ({ role, description: MESSAGES.linkRoles[role] }));
    this.#setRoles();
    this.#press("");
    this.draw();
  }

  async #choose(id) {
    const { inputs, prompts, settings, saveState, paint } = this.#parts;
    const task = TASKS[id];
    await inputs.settled();
    saveState();
    this.#needs = task.needs;
    this.#setRoles(task.others);
    this.#press(id);
    const images = inputs.list();
    // Images get the role of their place; a control image, such as a painted mask, keeps its role.
    const roleAt = (place, role) => (role === "control" ? role : task.needs[place]?.role ?? task.others ?? role);
    await inputs.put(task.needs.length === 0 ? [] : images.map(({ image, role }, place) => ({ image, role: roleAt(place, role) })));
    settings.put({ context: task.context });
    prompts.suggest(task.question ?? MESSAGES.question, task.placeholder);
    prompts.drawIdeas(task.ideas);
    this.draw();
    if (this.#view.get("needs").textContent === "") {
      this.#view.hint(MESSAGES.nowPrompt);
    }
    if (task.needs.some(({ painted }) => painted) && images.length > 0) {
      paint();
    }
  }

  /** Gives the next images the roles that are missing, then `others`. @param {import("../unireal.d.ts").Role} [others] */
  #setRoles(others) {
    const { inputs } = this.#parts;
    inputs.setRoles((place) => {
      const missing = missingFrom(inputs.list(), this.#needs).find(({ painted }) => !painted);
      return missing?.role ?? others ?? (place === 0 ? "canvas" : "asset");
    });
  }

  #press(id) {
    for (const button of this.#view.get("tasks").children) {
      button.setAttribute("aria-pressed", String(button.dataset.task === id));
    }
  }
}
