/**
 * Adds a service worker to a built site, which caches a complete version of the page, its code and its images for
 * offline visits. Models are excluded, because the engine caches them itself.
 *
 *   node offline.mjs DIR
 */
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { generateSW } from "workbox-build";

/** The page's wasm modules: the engine and the tabletop renderer. */
const MODULES = ["www/wasm/unireal", "www/wasm/tabletop"];

const hash = (bytes, encoding) => createHash("sha256").update(bytes).digest(encoding);

/**
 * Adds a prefix of the wasm's hash to the URL in the code next to it, so that the page and the service worker share one
 * download: the URL identifies the bytes, and any cache may answer. The code also gets the full hash as `integrity`.
 * Code and wasm of different versions can therefore not meet, even on a first visit, and a corrupted wasm does not
 * start.
 * @param {string} folder
 * @param {string} module its path without the extensions
 * @returns {Promise<[string, string]>} its path and its URL, relative to the site
 */
async function addressWasm(folder, module) {
  const path = `${module}_bg.wasm`;
  const wasm = await readFile(join(folder, path));
  const version = hash(wasm, "hex").slice(0, 16);
  const glue = join(folder, `${module}.js`);
  const code = await readFile(glue, "utf8");
  const file = basename(path);
  const name = new RegExp(`${file.replace(".", "\\.")}(\\?v=\\w+)?(?=['"])`, "g");
  const request = /fetch\(module_or_path(, \{ integrity: "[^"]*" \})?\)/;
  if (!name.test(code) || !request.test(code)) {
    throw new Error(`${glue} does not name and fetch its wasm`);
  }
  const checked = `fetch(module_or_path, { integrity: "sha256-${hash(wasm, "base64")}" })`;
  await writeFile(glue, code.replace(name, `${file}?v=${version}`).replace(request, checked));
  return [path, `${path}?v=${version}`];
}

/** Writes DIR/service-worker.js. Run it after every other step that changes the site. @param {string} folder */
export async function makeOffline(folder) {
  const wasm = new Map(await Promise.all(MODULES.map((module) => addressWasm(folder, module))));
  /** Adds a file's hash: the installation fails if the server has another version of it, for example during a deployment. */
  const withIntegrity = async (entry) => {
    const integrity = `sha256-${hash(await readFile(join(folder, entry.url)), "base64")}`;
    return wasm.has(entry.url) ? { ...entry, url: wasm.get(entry.url), revision: null, integrity } : { ...entry, integrity };
  };
  const { count, size, warnings } = await generateSW({
    swDest: join(folder, "service-worker.js"),
    globDirectory: folder,
    globPatterns: ["index.html", "www/**/*"],
    globIgnores: ["www/models/**", "www/package.json", "www/**/*.d.ts"],
    manifestTransforms: [async (entries) => ({ manifest: await Promise.all(entries.map(withIntegrity)), warnings: [] })],
    maximumFileSizeToCacheInBytes: 2 ** 30,
    cacheId: "unireal",
    // Ignores all query parameters: a page from the network would still run the cached code.
    ignoreURLParametersMatching: [/./],
    // The first visit is served from the cache immediately; a later version waits until the page activates it.
    clientsClaim: true,
    skipWaiting: false,
    inlineWorkboxRuntime: true,
    sourcemap: false,
    mode: "production",
  });
  if (warnings.length > 0) {
    throw new Error(warnings.join("\n"));
  }
  return { count, size };
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [folder] = process.argv.slice(2);
  if (!folder) {
    console.error("usage: node offline.mjs DIR");
    process.exit(2);
  }
  const { count, size } = await makeOffline(folder);
  console.error(`${count} files, ${(size / 1e6).toFixed(1)} MB, are cached for offline visits`);
}
