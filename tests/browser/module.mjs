/** The real module in a real browser, a pack in many shards, and a host that does what a test wants. */
import { join } from "node:path";
import { after, afterEach, before } from "node:test";
import { DIST, launch } from "./browser.mjs";
import { index, readPack, reshard } from "./packs.mjs";
import { serve } from "./server.mjs";

/** Milliseconds of most tests. */
export const LIMIT = 120_000;
/** Shards of the transformer. */
export const SHARDS = 6;

/** What the tests call in a page. Runs there. */
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
  window.picture = async (options = {}) => {
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
 * For the tests of one file: `files` that the host holds in memory, `intercept`, which sees each request first and is
 * forgotten after each test, the pack as `good` with its transformer's shards as `names`, `server` and `browser`.
 */
export function workshop() {
  const files = new Map([["/blank.html", Buffer.from("<!doctype html><title>blank</title>")]]);
  let folders = 0;
  const shop = {
    files,
    intercept: () => false,

    /** Puts the pack on the host, in a folder of its own: what a cache keeps of another is not its. */
    host() {
      const folder = `/packs/${(folders += 1)}`;
      for (const [path, bytes] of shop.good) {
        files.set(`${folder}/${path}`, bytes);
      }
      return folder;
    },

    /** A page, of a private profile where none is given. */
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
export const picture = (page, options) => page.evaluate((given) => window.picture(given), options);
