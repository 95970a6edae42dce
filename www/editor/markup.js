/** The markup of an editor, with the strings that never change. Never contains text from elsewhere. */

const MARKUP = `
  <div id="page" class="page" hidden>
    <section class="hero">
      <slot name="intro"></slot>
      <section id="model" class="card model" aria-labelledby="model-title" data-state="checking">
        <h2 id="model-title">The model</h2>
        <p id="model-text">Checking the model…</p>
        <p id="storage-text" class="hint"></p>
        <div id="load-error" class="notice" role="alert" hidden></div>
        <div class="download" id="download-panel" hidden>
          <progress id="download-bar" max="1" aria-labelledby="model-title"></progress>
          <p class="row"><span id="download-bytes"></span><span id="download-speed"></span></p>
        </div>
        <p class="row actions">
          <button id="load" class="primary" type="button" hidden><span id="load-label">Download the model</span><span id="load-size"></span></button>
          <button id="load-cancel" class="quiet" type="button" hidden>Stop</button>
        </p>
      </section>
    </section>

    <section aria-labelledby="tasks-title">
      <h2 id="tasks-title">What would you like to do?</h2>
      <div id="tasks" class="tasks" role="group" aria-labelledby="tasks-title"></div>
    </section>

    <section id="examples-section" aria-labelledby="examples-title" hidden>
      <h2 id="examples-title">Start with an example</h2>
      <ul id="examples" class="examples"></ul>
    </section>

    <slot name="start"></slot>

    <form id="editor" class="workspace" novalidate>
      <div class="column">
        <section class="card" aria-labelledby="images-title">
          <div class="head">
            <h2 id="images-title">Your picture</h2>
            <label class="button quiet" for="file" id="add" hidden>Add another</label>
          </div>
          <input id="file" class="hidden-input" type="file" accept="image/*" multiple aria-label="Choose pictures">
          <label id="drop" class="drop" for="file">
            <svg viewBox="0 0 48 48" width="44" height="44" aria-hidden="true"><rect x="6" y="9" width="36" height="30" rx="5"/><circle cx="17" cy="19" r="3.5"/><path d="M7 34l11-10 8 7 6-5 9 8"/></svg>
            <strong id="drop-title"></strong>
            <span id="drop-hint"></span>
          </label>
          <ol id="slots" class="slots" aria-label="Input pictures"></ol>
          <p id="needs" class="needs" role="status"></p>
          <button id="paint" type="button" hidden>Paint the area</button>
          <p id="image-note" class="notice" role="alert" hidden></p>
        </section>

        <section class="card composer" aria-labelledby="prompt-label">
          <label id="prompt-label" for="prompt">What should change?</label>
          <textarea id="prompt" rows="2" maxlength="4000" spellcheck="true" autocomplete="off" placeholder="remove the red cube" aria-describedby="prompt-help"></textarea>
          <div id="ideas" class="chips" role="group" aria-label="Ideas for the prompt"></div>
          <p class="row go">
            <button id="generate" class="primary" type="submit">Generate</button>
            <button id="variations" type="button" title="Makes four different pictures">Four variations</button>
            <button id="share" class="quiet" type="button" title="The link contains your prompt and settings, but no pictures" hidden>Copy link</button>
            <span id="prompt-help" class="hint"><kbd>Ctrl</kbd> <kbd>Enter</kbd> generates, <kbd>Esc</kbd> cancels</span>
          </p>
          <p id="link-row" hidden><input id="link" type="text" readonly aria-label="Link to this request"></p>
          <p id="status" class="status" role="status" aria-live="polite" data-state="checking"></p>

          <details id="context">
            <summary>Context <span id="context-summary" class="value">automatic</span></summary>
            <p class="hint">Describe the kind of result. Automatic chooses from your prompt and your pictures.</p>
            <div id="tags" class="tags" role="group" aria-label="Context tags"></div>
          </details>

          <details id="settings">
            <summary>Settings <span id="settings-summary" class="value"></span></summary>
            <div class="settings">
              <div class="field wide">
                <label for="seed">Seed <span>the same seed gives the same picture</span></label>
                <div class="row tight">
                  <input id="seed" type="number" min="0" max="9007199254740991" step="1" inputmode="numeric">
                  <button id="dice" class="icon" type="button" aria-label="New random seed" title="New random seed"><svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true"><rect x="4" y="4" width="16" height="16" rx="4"/><circle class="fill" cx="9" cy="9" r="1.4"/><circle class="fill" cx="15" cy="15" r="1.4"/><circle class="fill" cx="15" cy="9" r="1.4"/><circle class="fill" cx="9" cy="15" r="1.4"/></svg></button>
                  <button id="lock" class="icon" type="button" aria-pressed="false" aria-label="Use this seed again" title="Use this seed again"><svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true"><rect x="5" y="11" width="14" height="9" rx="2.5"/><path d="M8 11V8a4 4 0 0 1 8 0v3"/></svg></button>
                </div>
              </div>
              <div class="field">
                <label for="steps">Steps <span>more is finer and slower</span><output for="steps"></output></label>
                <input id="steps" type="range" min="1" max="100" step="1" value="20">
              </div>
              <div class="field">
                <label for="outputs">Results <span>generated together</span><output for="outputs"></output></label>
                <input id="outputs" type="range" min="1" max="4" step="1" value="1">
              </div>
              <div class="field">
                <label for="guidance">Guidance <span>how closely to follow the prompt</span><output for="guidance"></output></label>
                <input id="guidance" type="range" min="0" max="10" step="0.1" value="2">
              </div>
              <div class="field">
                <label for="image-guidance">Image guidance <span>how closely to follow the pictures</span><output for="image-guidance"></output></label>
                <input id="image-guidance" type="range" min="0" max="10" step="0.1" value="1">
              </div>
              <div class="field wide switch">
                <input id="composite" type="checkbox" checked>
                <label for="composite">Protect the rest <span>areas without a change stay exactly as they are</span></label>
              </div>
              <div class="field wide">
                <label for="device">Device <span>where the model runs</span></label>
                <select id="device">
                  <option value="auto">Automatic: the GPU if it works, else the CPU</option>
                  <option value="webgpu">GPU</option>
                  <option value="webgpu-f16">GPU, faster and less exact</option>
                  <option value="cpu">CPU</option>
                </select>
              </div>
              <p class="row wide"><button id="delete-model" class="quiet" type="button" disabled>Delete the downloaded model</button></p>
            </div>
          </details>
        </section>
      </div>

      <section id="result-pane" class="card result-pane" aria-labelledby="result-title">
        <div class="head">
          <h2 id="result-title">Result</h2>
          <p class="row tight">
            <button id="undo" class="icon" type="button" aria-label="Undo" title="Undo" disabled><svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true"><path d="M8 5L4 9l4 4M4 9h10a6 6 0 0 1 0 12h-3"/></svg></button>
            <button id="redo" class="icon" type="button" aria-label="Redo" title="Redo" disabled><svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true"><path d="M16 5l4 4-4 4M20 9H10a6 6 0 0 0 0 12h3"/></svg></button>
          </p>
        </div>
        <div class="answers">
          <div>
            <div id="result" class="result" data-state="empty">
              <p class="placeholder">The edited picture appears here.<br><span>Without a picture, your prompt makes a new one.</span></p>
            </div>
            <div id="compare" class="compare" hidden>
              <canvas id="compare-before" role="img" aria-label="Before"></canvas>
              <canvas id="compare-after" role="img" aria-label="After"></canvas>
              <span class="side" aria-hidden="true">Before</span>
              <span class="side" aria-hidden="true">After</span>
              <input id="compare-range" type="range" min="0" max="100" step="1" value="50" aria-label="Share of the result that is shown">
            </div>
            <p class="caption">Model's result</p>
          </div>
          <slot name="beside"></slot>
        </div>
        <div id="steps-panel" class="steps-panel" hidden>
          <progress id="step-bar" aria-label="Steps"></progress>
          <p class="row"><span id="step-text"></span><span id="step-left"></span><button id="cancel" class="quiet" type="button">Cancel</button></p>
        </div>
        <div id="error" class="notice" role="alert" hidden></div>
        <div id="result-actions" hidden>
          <p class="row actions">
            <button id="use-as-input" class="primary" type="button">Use as input</button>
            <a id="download" class="button" href="#result">Download</a>
            <button id="compare-toggle" type="button" aria-pressed="false">Compare</button>
            <button id="copy" class="quiet" type="button">Copy picture</button>
            <button id="save-both" class="quiet" type="button">Save before and after</button>
          </p>
          <p id="timings" class="hint"></p>
        </div>
        <section id="history" class="history" aria-labelledby="history-title" hidden>
          <h3 id="history-title">History</h3>
          <ol id="history-list"></ol>
        </section>
      </section>
    </form>
  </div>

  <div id="drop-veil" class="veil" hidden><p>Drop the picture to use it</p></div>

  <dialog id="painter" class="painter" aria-labelledby="painter-title" aria-describedby="painter-help">
    <h2 id="painter-title">Paint the area</h2>
    <p id="painter-help" class="hint">Paint over the area to change. With the keyboard: arrow keys move a rectangle, <kbd>Shift</kbd> with arrow keys resizes it, <kbd>Enter</kbd> paints it.</p>
    <div id="painter-stage" class="stage">
      <canvas id="painter-image" aria-hidden="true"></canvas>
      <canvas id="painter-canvas" tabindex="0" role="application" aria-roledescription="mask" aria-label="Area to paint" aria-describedby="painter-help"></canvas>
    </div>
    <p id="painter-status" class="hint" role="status"></p>
    <div class="row tools">
      <label class="brush" for="painter-size">Brush <input id="painter-size" type="range" min="2" max="40" step="1" value="12"></label>
      <button id="painter-extend" class="quiet" type="button" title="Adds a border to fill">Extend</button>
      <button id="painter-undo" class="quiet" type="button">Undo</button>
      <button id="painter-clear" class="quiet" type="button">Clear</button>
    </div>
    <div class="row actions">
      <button id="painter-done" class="primary" type="button">Use this area</button>
      <button id="painter-close" type="button">Close</button>
    </div>
  </dialog>

  <template id="slot-template">
    <li class="slot">
      <div class="frame">
        <img alt="" draggable="false">
        <span class="handle" aria-hidden="true"><svg viewBox="0 0 24 24" width="16" height="16"><path d="M9 6v.01M15 6v.01M9 12v.01M15 12v.01M9 18v.01M15 18v.01"/></svg><span class="handle-text"></span></span>
      </div>
      <div class="bar">
        <button class="name" type="button"></button>
        <select class="role">
          <option value="canvas">Edit this picture</option>
          <option value="asset">Use the object in it</option>
          <option value="control">Follow its shape</option>
        </select>
        <button class="icon earlier" type="button"><svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true"><path d="M14 6l-6 6 6 6"/></svg></button>
        <button class="icon remove" type="button"><svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true"><path d="M7 7l10 10M17 7L7 17"/></svg></button>
      </div>
    </li>
  </template>
`;

/** Makes the fixed markup trusted for pages that enforce Trusted Types. No other text becomes HTML. */
function trusted(html) {
  const types = globalThis.trustedTypes;
  return types ? types.createPolicy("unireal-editor", { createHTML: (text) => text }).createHTML(html) : html;
}

/** @type {HTMLTemplateElement | null} */
let template = null;

/**
 * Creates the editor's content. It is hidden until its stylesheet has loaded or failed to load.
 * @param {string} styles address of the stylesheet
 * @returns {DocumentFragment}
 */
export function markup(styles) {
  template ??= Object.assign(document.createElement("template"), { innerHTML: trusted(MARKUP) });
  const content = document.importNode(template.content, true);
  const page = /** @type {HTMLElement} */ (content.getElementById("page"));
  const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: styles });
  link.onload = link.onerror = () => {
    page.hidden = false;
  };
  content.prepend(link);
  for (const name of ["intro", "beside"]) {
    const slot = /** @type {HTMLSlotElement} */ (content.querySelector(`slot[name=${name}]`));
    slot.addEventListener("slotchange", () => {
      slot.parentElement?.classList.toggle(`with-${name}`, slot.assignedElements().length > 0);
    });
  }
  return content;
}
