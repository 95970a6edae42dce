/** Helpers for the tests and the headless demo: Chromium with or without WebGPU, and the demo page's status. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

/** The folder of the built site. */
export const DIST = fileURLToPath(new URL("../../dist", import.meta.url));

/** The native command that `cargo build --release -p unireal-tools` builds. */
export const NATIVE = join(process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../target", import.meta.url)), "release/unireal");

/** Flags for WebGPU in a headless browser. A machine without a GPU runs it on SwiftShader. */
const WEBGPU = ["--enable-unsafe-webgpu", `--use-webgpu-adapter=${process.env.WEBGPU_ADAPTER ?? "swiftshader"}`];

function executable() {
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    try {
      return execFileSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).trim();
    } catch {
      // Try the next name.
    }
  }
  throw new Error("no chromium on the PATH; on Debian: apt-get install chromium");
}

const flags = (webgpu) => ({
  executablePath: executable(),
  args: ["--no-sandbox", "--disable-dev-shm-usage", ...(webgpu ? WEBGPU : [])],
  ignoreDefaultArgs: webgpu ? ["--disable-gpu"] : [],
});

/** A request that sends data or reaches another host. */
class Stray extends Error {}

/** Maximum length of a URL in characters, too short for an image. */
const LONGEST = 2048;

/** Returns why a request is forbidden, or null if it is allowed: pages may only read from localhost and may send nothing. */
function stray(request) {
  const { protocol, hostname } = new URL(request.url());
  if (["data:", "blob:", "file:"].includes(protocol)) {
    return null;
  }
  const reason = hostname !== "localhost" ? "to another host"
    : !["GET", "HEAD"].includes(request.method()) || request.postDataBuffer() ? "that sends something"
    : request.url().length > LONGEST ? "with a very long address" : null;
  return reason && `a request ${reason}: ${request.method()} ${request.url().slice(0, 200)}`;
}

/**
 * Records forbidden requests of a context's pages. Closing the context or its browser then throws.
 * @param {import("playwright-core").BrowserContext} context
 * @param {string[]} strays
 */
function guard(context, strays) {
  context.on("request", (request) => {
    const found = stray(request);
    found && strays.push(found);
  });
  const close = context.close.bind(context);
  context.close = async (...given) => {
    await close(...given);
    if (strays.length > 0) {
      throw new Stray(strays.splice(0).join("; "));
    }
  };
  return context;
}

/**
 * Launches a browser with private pages. Closing it throws if a page reached another host or sent data.
 * @param {{ webgpu?: boolean }} [options]
 */
export async function launch({ webgpu = true } = {}) {
  const browser = await chromium.launch(flags(webgpu));
  const strays = [];
  const newContext = browser.newContext.bind(browser);
  browser.newContext = async (options) => guard(await newContext(options), strays);
  browser.newPage = async (options) => {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    // Closing the context fails if the browser has already closed; only forbidden requests count.
    page.once("close", () => context.close().catch((error) => error instanceof Stray && strays.push(error.message)));
    return page;
  };
  const close = browser.close.bind(browser);
  browser.close = async () => {
    await close();
    if (strays.length > 0) {
      throw new Error(strays.join("; "));
    }
  };
  return browser;
}

/** Launches a browser with a persistent profile, which can install pages. Records forbidden requests too. */
export const launchProfile = async (folder, { webgpu = false } = {}) => guard(await chromium.launchPersistentContext(folder, flags(webgpu)), []);

/**
 * Waits until the page's status is one of `states`.
 * @param {import("playwright-core").Page} page
 * @param {string[]} states
 * @param {number} [timeout] milliseconds
 * @returns {Promise<{ state: string, code: string, text: string }>}
 */
export async function reach(page, states, timeout = 30_000) {
  const selector = states.map((state) => `#status[data-state="${state}"]`).join(", ");
  const now = () => page.$eval("#status", ({ dataset, textContent }) => ({ state: dataset.state, code: dataset.code ?? "", text: textContent }));
  try {
    await page.waitForSelector(selector, { state: "attached", timeout });
  } catch (error) {
    if (error.name !== "TimeoutError") {
      throw error;
    }
    const { state, text } = await now();
    throw new Error(`no "${states.join('" or "')}" after ${timeout / 1000} s; the page is at "${state}": ${text}`);
  }
  return now();
}

/** Returns the text of a notice on the page. */
export const notice = (page, id) => page.$eval(`#${id}`, (box) => box.innerText.replace(/\s+/g, " ").trim());

/** Opens the demo and loads the model. @param {import("playwright-core").Page} page @param {string} address */
export async function load(page, address, timeout = 60_000) {
  await page.goto(address);
  let { state } = await reach(page, ["waiting", "loading", "ready", "error"], timeout);
  if (state === "waiting") {
    await page.click("#load");
  }
  if (state !== "error") {
    ({ state } = await reach(page, ["ready", "error"], timeout));
  }
  if (state === "error") {
    throw new Error(`the model could not be loaded: ${await notice(page, "load-error")}`);
  }
}

/** Sets a field of the settings. Throws if the field does not accept the value. */
export async function set(page, id, value) {
  const problem = await page.$eval(`#${id}`, (field, text) => {
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    const { min, max, step } = field;
    return Number(field.value) === Number(text) && field.checkValidity() ? null : `the page takes ${min} to ${max}, in steps of ${step}`;
  }, String(value));
  if (problem) {
    throw new Error(`${id} of ${value}: ${problem}`);
  }
}
