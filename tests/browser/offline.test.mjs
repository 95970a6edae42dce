/** The service worker: offline visits, installation and new versions. */
import assert from "node:assert/strict";
import { appendFile, cp, mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { makeOffline } from "../../scripts/site/offline.mjs";
import { DIST, launch, launchProfile, load, notice, reach, set } from "./browser.mjs";
import { serve } from "./server.mjs";
import { WORK, choose, generate, options, pixels, red } from "./site.mjs";

const PACK = "/www/models/tabletop/";

let folder, browser;
const problems = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "unireal-"));
  browser = await launch({ webgpu: false });
});

after(async () => {
  await browser?.close();
  await rm(folder, { recursive: true, force: true });
  assert.deepEqual(problems, [], "something was thrown that nobody caught");
});

/** Serves the site until the test ends. */
async function host(t, ...given) {
  const server = await serve(...given);
  t.after(() => server.close());
  return server;
}

async function visitor(t, contextOptions) {
  const context = await browser.newContext(contextOptions);
  t.after(() => context.close());
  return context;
}

async function tab(context) {
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (error) => problems.push(error.message));
  return page;
}

/** Waits until the service worker is active and controls the page. */
const settled = (page) => page.waitForFunction(() => navigator.serviceWorker.controller?.state === "activated", null,
  { timeout: WORK });

async function edit(page) {
  await choose(page, red, 1);
  await set(page, "steps", 2);
  await set(page, "seed", 7);
  const { state } = await generate(page, "remove the red cube");
  assert.equal(state, "done", await notice(page, "error"));
  return pixels(page);
}

/** Waits until the page's storage text matches. @param {RegExp} text */
const storageText = (page, text) => page.waitForFunction((source) =>
  new RegExp(source).test(document.querySelector("unireal-editor").shadowRoot.getElementById("storage-text").textContent), text.source);

test("one visit, then an edit without a network", { timeout: 240_000 }, async (t) => {
  const server = await host(t, DIST);
  const context = await visitor(t);
  // Replaces the browser's decision about persistent storage.
  await context.addInitScript(() => {
    window.timesAsked = 0;
    StorageManager.prototype.persist = async () => (window.timesAsked += 1) > 0;
    StorageManager.prototype.persisted = async () => window.timesAsked > 0;
  });
  const first = await tab(context);
  await first.goto(`${server.url}?device=cpu`);
  await reach(first, ["waiting"]);
  assert.equal(await first.evaluate(() => window.timesAsked), 0, "asked to keep a model that nobody wanted yet");
  assert.deepEqual([await first.textContent("#storage-text"), await first.isEnabled("#delete-model")], ["", false]);
  await first.click("#load");
  await reach(first, ["ready"], WORK);
  assert.equal(await first.evaluate(() => window.timesAsked), 1);
  await storageText(first, /^Uses [\d.]+ [kMG]B .* stays until you delete it\.$/);
  const bytes = Number(await first.getAttribute("#model", "data-bytes"));
  const stored = await first.evaluate(async (pack) => (await import("/www/unireal.js")).UniReal.storedBytes(pack), PACK);
  assert.ok(stored >= bytes && stored < bytes + 1e6, `${stored} bytes are stored of a pack of ${bytes}`);
  const online = await edit(first);
  await settled(first);
  await first.close();
  await server.close();

  const second = await tab(context);
  await second.goto(`${server.url}?device=cpu&from=a-link`);
  await reach(second, ["ready"], WORK);
  assert.equal(await second.evaluate(() => window.timesAsked), 0, "asked again");
  await storageText(second, /may delete it/);
  await second.click("#examples .thumb");
  await second.waitForSelector('#slots[data-count="1"]', { state: "attached" });
  await second.click("#slots .remove");
  assert.equal(await edit(second), online);

  // The renderer of new scenes is cached too, although it was not used online.
  await second.click("#scene");
  await second.waitForSelector('#scene-status:text("Here is your scene")', { timeout: WORK });

  // The engine caches the model; the service worker neither caches nor serves it.
  const cached = await second.evaluate(async (pack) => {
    const caches = await Promise.all((await window.caches.keys()).map((name) => window.caches.open(name)));
    const urls = (await Promise.all(caches.map((cache) => cache.keys()))).flat().map(({ url }) => url);
    return { urls, model: await fetch(`${pack}model_index.json`).then(() => "answered", () => "no network") };
  }, PACK);
  assert.equal(cached.model, "no network");
  assert.ok(cached.urls.length > 20, String(cached.urls));
  assert.deepEqual(cached.urls.filter((url) => url.includes("/models/")), []);

  await second.click("#settings summary");
  await second.click("#delete-model");
  assert.equal((await reach(second, ["error"], WORK)).code, "network");
  await storageText(second, /^$/);
  assert.equal(await second.isEnabled("#delete-model"), false);
});

test("a model that does not open can be deleted", options, async (t) => {
  const files = new Map();
  const server = await host(t, DIST, 0, { files });
  const context = await visitor(t);
  const page = await tab(context);
  await load(page, `${server.url}?device=cpu`, WORK);
  await page.evaluate(async () => {
    const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("unireal");
    for await (const pack of root.values()) {
      await pack.removeEntry("pack.json");
    }
  });
  files.set(`${PACK}model_index.json`, Buffer.from("{}"));
  await page.reload();
  assert.equal((await reach(page, ["error"], WORK)).code, "format");
  files.clear();
  await storageText(page, /^Uses/);
  await page.click("#settings summary");
  await page.click("#delete-model");
  await reach(page, ["waiting"], WORK);
  await storageText(page, /^$/);
});

/** Returns the version of the page, its code, its worker and its wasm. */
async function versions(page) {
  await reach(page, ["waiting"], WORK);
  return page.evaluate(async (pack) => {
    const { UniReal } = await import("/www/unireal.js");
    const glue = await (await fetch("/www/wasm/unireal.js")).text();
    const wasm = await fetch(`/www/wasm/${/unireal_bg\.wasm\?v=\w+/.exec(glue)[0]}`);
    return {
      page: document.querySelector("h1").textContent === "Version B" ? "B" : "A",
      code: document.querySelector("unireal-editor").shadowRoot.querySelector("#ideas .chip").textContent === "make it version B" ? "B" : "A",
      worker: (await UniReal.check(pack)).name === "B" ? "B" : "A",
      wasm: new Uint8Array((await wasm.arrayBuffer()).slice(-4)).join() === "0,2,1,66" ? "B" : "A",
    };
  }, PACK);
}

const all = (version) => ({ page: version, code: version, worker: version, wasm: version });

async function change(file, from, to) {
  const text = await readFile(file, "utf8");
  assert.match(text, from, file);
  await writeFile(file, text.replace(from, to));
}

/** Copies a site without the models, which are linked. */
async function copy(from, name) {
  const to = join(folder, name);
  await cp(from, to, { recursive: true, filter: (path) => !path.endsWith("/www/models") });
  await symlink(join(DIST, "www/models"), join(to, "www/models"));
  return to;
}

/** Creates the next version of a site, with another page, code, worker and wasm. */
async function nextVersion(site) {
  await change(join(site, "index.html"), /<h1 id="title">.*?<\/h1>/, '<h1 id="title">Version B</h1>');
  await change(join(site, "www/editor/strings.js"), /"remove the red cube"/, '"make it version B"');
  await change(join(site, "www/worker.js"), /Engine\.check\(.*\)(?=,\n)/, '$&.then((found) => ({ ...found, name: "B" }))');
  // Appends a custom section named B.
  await appendFile(join(site, "www/wasm/unireal_bg.wasm"), Buffer.from([0, 2, 1, 66]));
  await makeOffline(site);
}

/** Checks for a new version and returns the state of its service worker. */
const lookForNew = (page) => page.evaluate(async () => {
  const registration = await navigator.serviceWorker.getRegistration();
  await registration.update();
  const found = registration.installing;
  while (found?.state === "installing") {
    await new Promise((changed) => found.addEventListener("statechange", changed, { once: true }));
  }
  return found?.state ?? "none";
});

test("a new version waits for a click, and versions never mix", { timeout: 240_000 }, async (t) => {
  const site = await copy(DIST, "site");
  const next = await copy(site, "next");
  await nextVersion(next);
  const server = await host(t, site);
  const context = await visitor(t, { viewport: { width: 360, height: 740 } });
  const page = await tab(context);
  await page.goto(server.url);
  await settled(page);
  assert.deepEqual(await versions(page), all("A"));
  assert.equal(await lookForNew(page), "none");

  // A deployment in progress: the new service worker is there, but not the files that it lists.
  await cp(join(next, "service-worker.js"), join(site, "service-worker.js"));
  assert.equal(await lookForNew(page), "redundant");
  assert.equal(await page.isVisible("#update-actions"), false);
  assert.deepEqual(await versions(page), all("A"));

  await rename(site, join(folder, "old"));
  await rename(next, site);
  await page.reload();
  await page.waitForSelector("#update-actions", { timeout: WORK });
  assert.match(await page.textContent("#update-text"), /^A new version is available\./);
  assert.deepEqual(await versions(page), all("A"));
  await page.goto(`${server.url}?device=cpu&from=a-link`);
  await page.waitForSelector("#update-actions");
  assert.deepEqual(await versions(page), all("A"));

  const heights = await page.$$eval("#update-actions button", (all) => all.map((one) => one.getBoundingClientRect().height));
  assert.ok(heights.length === 2 && Math.min(...heights) >= 44, `too small to be tapped: ${heights}`);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "wider than the screen");
  await page.click("#update-later");
  assert.deepEqual([await page.isVisible("#update-actions"), await page.textContent("#update-text")], [false, ""]);
  await page.reload();
  await page.waitForSelector("#update-actions");

  // With another tab open, the update must wait, because that tab would lose its files.
  const other = await tab(context);
  await other.goto(server.url);
  await other.waitForSelector("#update-actions");
  await page.bringToFront();
  await page.click("#update-now");
  await page.waitForFunction(() => document.getElementById("update-text").textContent.includes("another tab"));
  assert.deepEqual(await versions(other), all("A"));
  assert.deepEqual(await versions(page), all("A"));
  await other.close();
  // The browser releases the closed tab's lock asynchronously.
  await page.evaluate(async () => {
    while ((await navigator.locks.query()).held.length > 1) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });

  await page.focus("#update-now");
  await Promise.all([page.waitForEvent("load", { timeout: WORK }), page.keyboard.press("Enter")]);
  await settled(page);
  assert.deepEqual(await versions(page), all("B"));
  assert.equal(await page.isVisible("#update-actions"), false);
  assert.equal(await lookForNew(page), "none");
});

test("the page can be installed", options, async (t) => {
  const server = await host(t, DIST);
  const context = await launchProfile(join(folder, "profile"));
  t.after(() => context.close());
  const page = await tab(context);
  await page.goto(server.url);
  await settled(page);
  const session = await context.newCDPSession(page);
  const { data, errors } = await session.send("Page.getAppManifest");
  assert.deepEqual(errors, []);
  const { installabilityErrors } = await session.send("Page.getInstallabilityErrors");
  assert.deepEqual(installabilityErrors, []);
  for (const { src, sizes } of JSON.parse(data).icons) {
    const side = await page.evaluate(async (url) => {
      const image = Object.assign(new Image(), { src: url });
      await image.decode();
      return image.naturalWidth;
    }, new URL(src, `${server.url}www/`).href);
    assert.ok(sizes === "any" || sizes === `${side}x${side}`, `${src} is ${side} pixels wide, ${sizes} is promised`);
  }
});

test("a server without the service worker: the console warns, everything else works", options, async (t) => {
  const server = await host(t, DIST, 0, {
    intercept: ({ url }, response) => url === "/service-worker.js" && (response.writeHead(404).end(), true),
  });
  const context = await visitor(t);
  const page = await tab(context);
  const warning = page.waitForEvent("console", (message) => message.text().includes("not available offline"));
  await page.goto(`${server.url}?device=cpu`);
  await warning;
  await reach(page, ["waiting"]);
  assert.equal(await page.isVisible("#load-error"), false);
});
