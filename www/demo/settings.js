/** Context tags and settings: the part of a request that has defaults. */
import { chip, get } from "./page.js";
import { OPPOSITES, TAGS } from "./words.js";

/** The chosen tags, or null for the derived ones. @type {Set<import("../unireal.d.ts").Tag> | null} */
let tags = null;

function drawTags() {
  for (const button of get("tags").children) {
    const { tag } = button.dataset;
    button.setAttribute("aria-pressed", String(tag ? Boolean(tags?.has(tag)) : !tags));
  }
  get("context-summary").textContent = tags ? [...tags].join(", ") : "automatic";
}

/** No tag left means automatic again; of two that contradict each other the newer stays. */
function toggle(tag) {
  const chosen = new Set(tags ?? []);
  if (!chosen.delete(tag)) {
    chosen.delete(OPPOSITES.get(tag));
    chosen.add(tag);
  }
  tags = tag && chosen.size > 0 ? chosen : null;
  drawTags();
}

function makeTags() {
  for (const [tag, meaning] of [["", "Derived from your pictures and their roles."], ...TAGS]) {
    const button = chip(tag || "automatic", () => toggle(tag));
    button.className = "tag";
    button.dataset.tag = tag;
    button.append(Object.assign(document.createElement("span"), { textContent: meaning }));
    get("tags").append(button);
  }
  drawTags();
}

const locked = () => get("lock").getAttribute("aria-pressed") === "true";

function lock(on) {
  get("lock").setAttribute("aria-pressed", String(on));
}

function roll() {
  get("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
}

function draw() {
  for (const output of document.querySelectorAll("output")) {
    output.textContent = get(output.htmlFor.value).value;
  }
  const steps = Number(get("steps").value);
  get("settings-summary").textContent = `${steps} ${steps === 1 ? "step" : "steps"}${locked() ? `, seed ${get("seed").value}` : ""}`;
}

/** The settings of the next request. A seed that is not locked is drawn anew, and shown. */
export function settings() {
  if (!locked() || get("seed").value === "") {
    roll();
    draw();
  }
  const number = (id) => Number(get(id).value);
  return {
    context: tags && [...tags],
    outputs: number("outputs"),
    steps: number("steps"),
    guidance: number("guidance"),
    imageGuidance: number("image-guidance"),
    seed: number("seed"),
  };
}

export function start() {
  makeTags();
  get("settings").addEventListener("input", draw);
  get("seed").addEventListener("input", () => (lock(get("seed").value !== ""), draw()));
  get("dice").addEventListener("click", () => (roll(), draw()));
  get("lock").addEventListener("click", () => (lock(!locked()), draw()));
  roll();
  draw();
}
