/** The npm package: packed, installed in a fresh Vite application, built with default settings and run; and served unbundled. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { build } from "vite";
import { DIST, launch } from "./browser.mjs";
import { serve } from "./server.mjs";
import { WORK, options } from "./site.mjs";

const MODEL = join(DIST, "www/models/tabletop");

const PAGE = (script) => `<!doctype html>
<title>An application</title>
${script}
<unireal-editor pack="/model/" device="cpu"></unireal-editor>
`;

const MAIN = `
import { UniReal, UniRealError } from "unireal";
import "unireal/editor";
globalThis.unireal = { UniReal, UniRealError };
`;

let app, browser, tarball;

before(async () => {
  app = await mkdtemp(join(tmpdir(), "unireal-app-"));
  const npm = (cwd, ...words) => execFileSync("npm", words, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  [tarball] = JSON.parse(npm(join(DIST, "www"), "pack", "--json", "--pack-destination", app));
  await writeFile(join(app, "package.json"), JSON.stringify({ name: "application", private: true, type: "module" }));
  npm(app, "install", "--no-audit", "--no-fund", "--offline", join(app, tarball.filename));
  await writeFile(join(app, "index.html"), PAGE('<script type="module" src="/main.js"></script>'));
  await writeFile(join(app, "main.js"), MAIN);
  browser = await launch({ webgpu: false });
});

after(async () => {
  await browser?.close();
  await rm(app, { recursive: true, force: true });
});

/** Runs an edit by the module and loads the editor element beside it. */
async function runs(folder) {
  const server = await serve(folder, 0);
  const page = await (await browser.newContext()).newPage();
  const problems = [];
  page.on("pageerror", ({ message }) => problems.push(message));
  page.on("response", (response) => response.status() >= 400 && !response.url().endsWith("/favicon.ico") && problems.push(`${response.status()} ${response.url()}`));
  try {
    await page.goto(server.url);
    await page.waitForFunction(() => globalThis.unireal);
    const result = await page.evaluate(async () => {
      const { UniReal, UniRealError } = globalThis.unireal;
      const model = await UniReal.load("/model/", { device: "cpu" });
      const source = new ImageData(64, 64);
      source.data.fill(200);
      const { images } = await model.generate({ prompt: "remove the cube", images: [{ image: source, role: "canvas" }], steps: 1 });
      const refused = await model.generate({ prompt: "", images: 7 }).catch((error) => error);
      return { width: images[0].width, height: images[0].height, typed: refused instanceof UniRealError, code: refused.code };
    });
    assert.deepEqual(result, { width: 64, height: 64, typed: true, code: "request" });
    const editor = page.locator("unireal-editor");
    await editor.locator("#load").waitFor();
    // The style sheet was found, wherever the bundler put it.
    assert.equal(await editor.locator('link[rel="stylesheet"]').evaluate(({ sheet }) => sheet !== null), true);
    assert.deepEqual(problems, []);
  } finally {
    await page.context().close();
    await server.close();
  }
}

test("the package holds only the files that run", options, () => {
  const files = tarball.files.map(({ path }) => path);
  for (const path of ["unireal.js", "unireal.d.ts", "editor.js", "editor.css", "worker.js", "wasm/unireal.js", "wasm/unireal_bg.wasm"]) {
    assert.ok(files.includes(path), `${path} is missing`);
  }
  const stray = files.filter((path) => /^(models|examples|demo)/.test(path));
  assert.deepEqual(stray, []);
});

test("a new Vite application builds with the package and edits an image", { timeout: 2 * WORK }, async () => {
  await build({ root: app, configFile: false, logLevel: "error" });
  const assets = await readdir(join(app, "dist/assets"));
  assert.equal(assets.filter((name) => name.endsWith(".wasm")).length, 1, String(assets));
  await symlink(MODEL, join(app, "dist/model"));
  await runs(join(app, "dist"));
});

test("without a bundler, an import map is enough", { timeout: 2 * WORK }, async () => {
  const folder = join(app, "plain");
  await mkdir(folder);
  await symlink(join(app, "node_modules/unireal"), join(folder, "unireal"));
  await symlink(MODEL, join(folder, "model"));
  await writeFile(join(folder, "index.html"), PAGE(`<script type="importmap">
{ "imports": { "unireal": "/unireal/unireal.js", "unireal/editor": "/unireal/editor.js" } }
</script>
<script type="module" src="/main.js"></script>`));
  await writeFile(join(folder, "main.js"), MAIN);
  await runs(folder);
});
