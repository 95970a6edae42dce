/** Shows the pairs of a study one at a time, with three questions about which result is better. Inserts all strings as text. */
"use strict";

const study = JSON.parse(document.getElementById("study").textContent);
const at = (id) => document.getElementById(id);
const STORAGE_KEY = `unireal-preference-${study.study}`;
const CHOICES = ["left", "same", "right"];
/** State stored between visits: the rater, the answers, and the index of the next pair. */
let state = { rater: "", answers: study.pairs.map(() => ({})), next: 0 };

/** Stores the state. Browsers may deny storage to pages opened from a disk; then the state lasts for one visit. */
function store() {
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(state));
  } catch {}
}

function restore() {
  try {
    const stored = JSON.parse(localStorage.getItem(STORAGE_KEY));
    if (stored?.answers?.length === study.pairs.length) {
      state = stored;
    }
  } catch {}
}

function show(section) {
  for (const id of ["start", "pair", "end"]) {
    at(id).hidden = id !== section;
  }
}

const missing = (answer) => study.questions.filter(({ name }) => !CHOICES.includes(answer[name]));

function showPair() {
  const number = state.next;
  if (number >= study.pairs.length) {
    showEnd();
    return;
  }
  const pair = study.pairs[number];
  at("title").textContent = `Pair ${number + 1} of ${study.pairs.length}`;
  at("progress").value = number;
  at("request").textContent = pair.prompt;
  at("input").src = pair.input;
  at("left").src = pair.left;
  at("right").src = pair.right;
  for (const { name } of study.questions) {
    for (const choice of CHOICES) {
      at(`${name}-${choice}`).checked = state.answers[number][name] === choice;
    }
  }
  at("back").disabled = number === 0;
  at("problem").textContent = "";
  show("pair");
  at("title").focus();
}

function showEnd() {
  const text = JSON.stringify({
    study: study.study,
    rater: state.rater,
    answers: state.answers.map((answer, i) => ({ pair: study.pairs[i].number, ...answer })),
  }, null, 1);
  at("answers").value = text;
  at("save").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  at("save").download = `answers-${state.rater.replace(/[^\w-]+/g, "-")}.json`;
  show("end");
  at("end-title").focus();
}

function answer(name, choice) {
  state.answers[state.next][name] = choice;
  store();
}

function step(by) {
  const unanswered = by > 0 ? missing(state.answers[state.next]) : [];
  if (unanswered.length > 0) {
    at("problem").textContent = `Not answered yet: ${unanswered.map(({ title }) => title).join(", ")}.`;
    at(`${unanswered[0].name}-left`).focus();
    return;
  }
  state.next += by;
  store();
  showPair();
}

/** Returns a question with three choices; while it has the focus, the keys 1, 2 and 3 select them. */
function question({ name, title, text }, index) {
  const box = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = `${title}: ${text}`;
  box.append(legend);
  ["A", "no difference", "B"].forEach((caption, i) => {
    const label = document.createElement("label");
    const radio = document.createElement("input");
    Object.assign(radio, { type: "radio", name, id: `${name}-${CHOICES[i]}` });
    radio.addEventListener("change", () => answer(name, CHOICES[i]));
    label.append(radio, ` ${caption}`);
    box.append(label);
  });
  box.addEventListener("keydown", (event) => {
    const choice = CHOICES["123".indexOf(event.key)];
    if (!choice || event.ctrlKey || event.altKey || event.metaKey) {
      return;
    }
    event.preventDefault();
    at(`${name}-${choice}`).checked = true;
    answer(name, choice);
    const next = study.questions[index + 1];
    (next ? at(`${next.name}-left`) : at("next")).focus();
  });
  return box;
}

restore();
at("questions").append(...study.questions.map(question));
at("progress").max = study.pairs.length;
at("rater").value = state.rater;
at("start").addEventListener("submit", (event) => {
  event.preventDefault();
  state.rater = at("rater").value.trim();
  store();
  showPair();
});
at("pair").addEventListener("submit", (event) => {
  event.preventDefault();
  step(1);
});
at("back").addEventListener("click", () => step(-1));
at("again").addEventListener("click", () => {
  state.next = study.pairs.length - 1;
  showPair();
});
show("start");
