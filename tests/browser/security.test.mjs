/** What the page's policy promises: text stays text, and only the page's own scripts run. That no request leaves its host, every test checks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./browser.mjs";
import { WORK, choose, generate, options, red, site } from "./site.mjs";

const shared = site();

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
      worker: attempt(() => new Worker("/www/pictures.js")),
      policy: attempt(() => trustedTypes.createPolicy("another", {})),
    };
  });
  assert.deepEqual(tried, {
    html: "TypeError", script: "TypeError", address: "TypeError", worker: "TypeError", policy: "TypeError",
  });
  // The console tells of four refusals, which were the test's purpose.
  const end = Date.now() + 5000;
  while (shared.problems.length < 4 && Date.now() < end) {
    await page.waitForTimeout(20);
  }
  const refusals = shared.problems.splice(0);
  assert.deepEqual(refusals.map((text) => /'(Trusted\w+)'/.exec(text)?.[1]), ["TrustedHTML", "TrustedScript", "TrustedScriptURL", "TrustedScriptURL"]);
});

test("names of files and prompts are shown as they are written", { timeout: 2 * WORK }, async () => {
  const page = await shared.visit();
  await load(page, shared.address(), WORK);
  const evil = '<img src=x onerror="window.struck = true">';
  await choose(page, [{ ...red, name: `${evil}.png` }], 1);
  const { state } = await generate(page, `remove ${evil} ${"</script><script>window.struck = true</script>"}`);
  assert.equal(state, "done");
  await choose(page, [{ name: `${evil}.png`, mimeType: "image/png", buffer: Buffer.from("no picture") }], 1);
  assert.equal(await page.evaluate(() => window.struck), undefined);
  const struck = await page.evaluate(() => document.querySelector("unireal-editor").shadowRoot.querySelectorAll("img[src=x], script").length);
  assert.equal(struck, 0);
});
