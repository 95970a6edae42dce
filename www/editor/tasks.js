/** The tasks to start from: each sets the roles, the tags and the ideas for the prompt, and lists the images it needs. */
import { card } from "./view.js";
import { SAY, TASKS } from "./words.js";

/**
 * @param {import("./view.js").View} view
 * @param {{ inputs: ReturnType<typeof import("./pictures.js").pictures>, prompts: any, settings: any, keep: () => void,
 *   paint: () => void }} parts `keep` adds the current state to the history, `paint` opens the painter
 */
export function tasks({ get, show, hint }, { inputs, prompts, settings, keep, paint }) {
  /** Images that the current task or link needs. @type {import("./words.js").Task["needs"]} */
  let needs = [];

  /** Shows which images are missing, in the wording of the task or link. */
  function draw() {
    const list = inputs.list();
    const left = [...list];
    const missing = needs.filter(({ role }) => {
      const at = left.findIndex((one) => one.role === role);
      return at < 0 || (left.splice(at, 1), false);
    });
    // A control image of a link may be a painted mask too.
    const canPaint = needs.some(({ role }) => role === "control") && list.some(({ role }) => role === "canvas");
    const toAdd = missing.filter(({ painted }) => !painted);
    get("needs").textContent = toAdd.length > 0 && (list.length > 0 || needs.length > 1)
      ? SAY.needed(toAdd.map(({ what }) => what))
      : canPaint && missing.length > toAdd.length ? SAY.paintNow : "";
    get("drop-title").textContent = toAdd.length > 0 ? SAY.choose(toAdd[0].what) : SAY.choosePicture;
    show("paint", canPaint);
    get("paint").classList.toggle("primary", missing.length > toAdd.length);
  }

  /** Gives the next images the roles that are missing. */
  function expect(others) {
    inputs.expect((place) => {
      const left = inputs.list().map(({ role }) => role);
      for (const { role, painted } of needs) {
        const at = left.indexOf(role);
        if (at < 0 && !painted) {
          return role;
        }
        left.splice(at, at < 0 ? 0 : 1);
      }
      return others ?? (place === 0 ? "canvas" : "asset");
    });
  }

  function press(id) {
    for (const button of get("tasks").children) {
      button.setAttribute("aria-pressed", String(button.dataset.task === id));
    }
  }

  async function choose(id) {
    const task = TASKS[id];
    await inputs.settled();
    keep();
    needs = task.needs;
    expect(task.others);
    press(id);
    const pictures = inputs.list();
    // Images get the role of their place; a control image, such as a painted mask, keeps its role.
    const roleAt = (place, role) => (role === "control" ? role : needs[place]?.role ?? task.others ?? role);
    await inputs.put(needs.length === 0 ? [] : pictures.map(({ image, role }, place) => ({ image, role: roleAt(place, role) })));
    settings.put({ context: task.context });
    prompts.suggest(task.question ?? SAY.question, task.placeholder);
    prompts.drawIdeas(task.ideas);
    draw();
    if (get("needs").textContent === "") {
      hint(SAY.nowWords);
    }
    if (needs.some(({ painted }) => painted) && pictures.length > 0) {
      paint();
    }
  }

  for (const [id, { title, meaning }] of Object.entries(TASKS)) {
    const button = card(title, meaning, () => choose(id));
    button.dataset.task = id;
    button.setAttribute("aria-pressed", "false");
    get("tasks").append(button);
  }
  get("paint").addEventListener("click", paint);

  return {
    draw,

    /** Requests the images of a link. @param {import("../unireal.d.ts").Role[]} roles */
    ask(roles) {
      needs = roles.map((role) => ({ role, what: SAY.linkRoles[role] }));
      expect();
      press("");
      draw();
    },
  };
}
