/** Creates the parts of an editor and connects them. */
import { acceptPictures } from "./drop.js";
import { history as makeHistory } from "./history.js";
import { engine as makeEngine } from "./model.js";
import { painter as makePainter } from "./painter.js";
import { pictures } from "./pictures.js";
import { prompts as makePrompts } from "./prompts.js";
import { results } from "./result.js";
import { runs } from "./run.js";
import { settings as makeSettings } from "./settings.js";
import { fromFragment, toFragment } from "./share.js";
import { tasks as makeTasks } from "./tasks.js";
import { view as makeView } from "./view.js";
import { SAY } from "./words.js";

/** Returns whether a key event belongs to a text field. */
function isWriting(event) {
  const target = event.composedPath()[0];
  return target instanceof HTMLElement && (target.matches("textarea, [type=number], [type=text]") || target.isContentEditable);
}

/** @param {HTMLElement} host @param {ShadowRoot} root */
export function parts(host, root) {
  const view = makeView(host, root);
  const { get, show, hint } = view;
  const engine = makeEngine(view, { onModel: (info) => settings.useDefaults(info) });
  const prompts = makePrompts(view);
  const settings = makeSettings(view);
  let tasks, history;
  const inputs = pictures(view, {
    onName: prompts.insertName,
    onChange() {
      tasks?.draw();
      history?.draw();
    },
  });

  /** Returns the current request with its images. @returns {import("./history.js").State} */
  const read = () => ({ images: inputs.list(), request: { prompt: prompts.read(), ...settings.read() } });

  /** Makes a result the image to edit. */
  async function useAsInput(file) {
    await inputs.replace(file, "canvas", 0);
    prompts.drawIdeas();
    history.keep();
    prompts.select();
    hint(SAY.nowInput);
  }

  const result = results(view, { onInput: useAsInput, onChoose: (seed) => settings.put({ seed, keepSeed: settings.read().keepSeed }) });
  const run = runs(view, { engine, inputs, settings, read, result, history: () => history });
  history = makeHistory(view, {
    read,
    isBusy: run.isBusy,
    async write({ images, request }, shown) {
      await inputs.put(images);
      prompts.set(request.prompt);
      settings.put(request);
      await result.restore(shown);
    },
  });
  const painter = makePainter(view, {
    async onDone(mask, picture) {
      const list = inputs.list();
      if (!list.some(({ image }) => image === picture)) {
        await inputs.replace(picture, "canvas", 0);
      }
      await inputs.replace(mask, "control", list.findIndex(({ role }) => role === "canvas") + 1);
      hint(SAY.nowWords);
      get("prompt").focus();
    },
  });
  tasks = makeTasks(view, {
    inputs,
    prompts,
    settings,
    keep: () => history.keep(),
    paint() {
      const canvas = inputs.list().find(({ role }) => role === "canvas");
      return canvas && painter.open(canvas.image);
    },
  });
  tasks.draw();
  history.draw();
  get("editor").addEventListener("input", () => history.draw());

  async function copyLink() {
    const { images, request } = read();
    const link = new URL(toFragment(request, images.map(({ role }) => role)), location.href).href;
    show("link-row", false);
    try {
      await navigator.clipboard.writeText(link);
      hint(SAY.linkCopied);
    } catch {
      get("link").value = link;
      show("link-row", true);
      get("link").select();
      hint(SAY.linkShown);
    }
  }
  get("share").addEventListener("click", copyLink);

  /** Restores the request of the page's address, if there is one. */
  function readAddress() {
    const found = fromFragment(location.hash);
    if (found) {
      history.keep();
      prompts.set(found.request.prompt);
      settings.put({ keepSeed: found.request.seed !== undefined, ...found.request });
      tasks.ask(found.roles);
      hint(found.roles.length > 0 ? `${SAY.fromLink(found.roles.length)} ${get("needs").textContent}` : SAY.fromLink(0));
    }
  }

  function onKey(event) {
    const command = event.ctrlKey || event.metaKey;
    if (event.key === "Enter" && command) {
      event.preventDefault();
      run.press(false);
    } else if (event.key === "Escape") {
      run.isBusy() ? run.cancel() : engine.stop();
    } else if (event.key.toLowerCase() === "z" && command && !isWriting(event)) {
      event.preventDefault();
      event.shiftKey ? history.redo() : history.undo();
    }
  }

  return {
    engine, inputs, prompts, settings, run, history,

    /**
     * Listens on the editor or on the whole page until the signal aborts.
     * @param {AbortSignal} signal
     * @param {boolean} wholePage
     */
    listen(signal, wholePage) {
      const where = wholePage ? window : host;
      where.addEventListener("keydown", onKey, { signal });
      acceptPictures(where, get("drop-veil"), (files) => inputs.add(files), signal);
      get("drop-veil").classList.toggle("everywhere", wholePage);
      get("drop-hint").textContent = wholePage ? SAY.dropOnPage : SAY.dropHere;
      show("share", wholePage);
      if (wholePage) {
        readAddress();
        addEventListener("hashchange", readAddress, { signal });
      }
    },

    /** @param {string | null} address of examples.json */
    showExamples(address) {
      if (!address) {
        show("examples-section", false);
        return;
      }
      // Shown while the examples load, which avoids a layout shift; hidden again if there are none.
      show("examples-section", true);
      prompts.drawExamples(new URL(address, document.baseURI), async (file) => {
        history.keep();
        await inputs.only(file);
      });
    },
  };
}
