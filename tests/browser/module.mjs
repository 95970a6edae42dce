/** A fixture with the real module in a browser, a pack in many shards, and a server that a test can control. */
import { join } from "node:path";
import { after, afterEach, before } from "node:test";
import { DIST, launch } from "./browser.mjs";
import { index, readPack, reshard } from "./packs.mjs";
import { serve } from "./server.mjs";

/** Timeout of most tests in milliseconds. */
export const LIMIT = 120_000;
/** Number of shards of the transformer. */
export const SHARDS = 6;

/** Defines the functions that the tests call in a page. Runs in the page. */
async function prepare() {
  const { UniReal, UniRealError } = await import("/www/unireal.js");
  window.UniReal = UniReal;
  window.code = (error) => (error instanceof UniRealError ? error.code : error.name);
  window.events = [];
  window.load = async (url, device = "cpu") => {
    window.events = [];
    try {
      window.model = await UniReal.load(url, { device, onProgress: (event) => window.events.push(event) });
      return { ok: true, note: window.model.info.note, device: window.model.info.device };
    } catch (error) {
      return { code: window.code(error), message: error.message };
    }
  };
  window.generate = async (options = {}) => {
    try {
      const { images } = await window.model.generate({ prompt: "a red cube", steps: 1, seed: 1, ...options });
      images.forEach((image) => image.close());
      return { ok: true };
    } catch (error) {
      return { code: window.code(error), message: error.message };
    }
  };
}

/**
 * Sets up the fixture for a test file: `files` in the server's memory; `intercept`, which gets each request first and
 * is reset after each test; the pack as `good` and the names of its transformer's shards as `names`; `server` and
 * `browser`.
 */
export function workshop() {
  const files = new Map([["/blank.html", Buffer.from("<!doctype html><title>blank</title>")]]);
  let folders = 0;
  const shop = {
    files,
    intercept: () => false,

    /** Serves the pack from a folder of its own, so that the cache of another pack is not used. */
    host() {
      const folder = `/packs/${(folders += 1)}`;
      for (const [path, bytes] of shop.good) {
        files.set(`${folder}/${path}`, bytes);
      }
      return folder;
    },

    /** Opens a page, in a new private context by default. */
    async open(context) {
      const page = await (context ?? (await shop.browser.newContext())).newPage();
      await page.goto(`${shop.server.url}blank.html`);
      await page.evaluate(prepare);
      return page;
    },
  };
  before(async () => {
    shop.good = reshard(await readPack(join(DIST, "www/models/tabletop")), "transformer", SHARDS);
    shop.names = Object.keys(index(shop.good, "transformer").metadata.shards);
    shop.server = await serve(DIST, 0, { files, intercept: (request, response) => shop.intercept(request, response) });
    shop.browser = await launch();
  });
  afterEach(() => (shop.intercept = () => false));
  after(async () => {
    await shop.browser?.close();
    await shop.server?.close();
  });
  return shop;
}

export const load = (page, folder, device) => page.evaluate((given) => window.load(...given), [`${folder}/`, device]);
export const generate = (page, options) => page.evaluate((given) => window.generate(given), options);
