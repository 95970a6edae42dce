/** The page's content security policy: text stays text, and only the page's own scripts run. browser.mjs checks all requests. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { launch, load, reach } from "./browser.mjs";
import { WORK, choose, generate, options, red, site } from "./site.mjs";

const shared = site();

test("requests to another host and requests that send data are detected, in pages and workers", options, async () => {
  const attempts = {
    "to another host": () => fetch("http://elsewhere.invalid/").catch(() => {}),
    "that sends something": () => fetch("/blank", { method: "POST", body: "a picture" }).catch(() => {}),
    "with a very long address": () => fetch(`/?${"a picture".repeat(300)}`).catch(() => {}),
  };
  for (const [what, attempt] of Object.entries(attempts)) {
    for (const inWorker of [false, true]) {
      const browser = await launch({ webgpu: false });
      const page = await browser.newPage();
      // A page without the demo's policy, which would block all of these.
      await page.goto(new URL("www/icon.svg", shared.address("")).href);
      if (inWorker) {
        const [worker] = await Promise.all([page.waitForEvent("worker"), page.evaluate(() => void (window.worker = new Worker("/www/cache.js", { type: "module" })))]);
        await worker.evaluate(attempt);
      } else {
        await page.evaluate(attempt);
      }
      await assert.rejects(browser.close(), new RegExp(what), `${what}, from ${inWorker ? "a worker" : "the page"}`);
    }
  }
});

test("no text becomes HTML or a script", options, async () => {
  const page = await shared.visit();
  await page.goto(shared.address());
  const tried = await page.evaluate(() => {
    const attempt = (act) => {
      try {
        act();
        return "allowed";
      } catch ({ name }) {
        return name;
      }
    };
    return {
      html: attempt(() => (document.createElement("div").innerHTML = "<b>bold</b>")),
      script: attempt(() => (document.createElement("script").text = "1")),
      address: attempt(() => (document.createElement("script").src = "/www/other.js")),
      worker: attempt(() => new Worker("/www/images.js")),
      policy: attempt(() => trustedTypes.createPolicy("another", {})),
    };
  });
  assert.deepEqual(tried, {
    html: "TypeError", script: "TypeError", address: "TypeError", worker: "TypeError", policy: "TypeError",
  });
  // The console reports four refusals, as expected.
  const end = Date.now() + 5000;
  while (shared.problems.length < 4 && Date.now() < end) {
    await page.waitForTimeout(20);
  }
  const refusals = shared.problems.splice(0);
  assert.deepEqual(refusals.map((text) => /'(Trusted\w+)'/.exec(text)?.[1]), ["TrustedHTML", "TrustedScript", "TrustedScriptURL", "TrustedScriptURL"]);
});

test("wasm of another version does not start", options, async () => {
  const page = await shared.visit({ serviceWorkers: "block" });
  await page.route("**/wasm/unireal_bg.wasm*", async (route) => {
    const response = await route.fetch();
    // Appends a custom section, which would not affect the execution.
    await route.fulfill({ response, body: Buffer.concat([await response.body(), Buffer.from([0, 2, 1, 66])]) });
  });
  await page.goto(shared.address());
  const { code } = await reach(page, ["error"], WORK);
  assert.equal(code, "network");
  await page.unroute("**/wasm/unireal_bg.wasm*");
  await page.click("#load");
  await reach(page, ["waiting"], WORK);
  await page.context().close();
});

test("file names and prompts are shown as plain text", { timeout: 2 * WORK }, async () => {
  const page = await shared.visit({ serviceWorkers: "block" });
  const evil = '<img src=x onerror="window.struck = true">';
  const changed = (change) => async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: change(await response.json()) });
  };
  await page.route("**/model_index.json", changed((index) => ({ ...index, name: evil })));
  await page.route("**/examples.json", changed((list) => list.map((one) => ({ ...one, prompt: evil, label: evil }))));
  await load(page, shared.address(), WORK);
  assert.ok((await page.textContent("#model-text")).includes(evil), "the model's name is shown as it is");
  assert.equal(await page.textContent("#examples .chip >> nth=0"), evil);
  await choose(page, [{ ...red, name: `${evil}.png` }], 1);
  const { state } = await generate(page, `remove ${evil} ${"</script><script>window.struck = true</script>"}`);
  assert.equal(state, "done");
  await choose(page, [{ name: `${evil}.png`, mimeType: "image/png", buffer: Buffer.from("no picture") }], 1);
  assert.equal(await page.evaluate(() => window.struck), undefined);
  const struck = await page.evaluate(() => document.querySelector("unireal-editor").shadowRoot.querySelectorAll("img[src=x], script").length);
  assert.equal(struck, 0);
});
