/**
 * Gives a built site the service worker that keeps it for visits without a network: the page, its code and its pictures,
 * whole and of one version. Models stay out of it: the engine has a cache of its own for them.
 *
 *   node offline.mjs DIR
 */
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { generateSW } from "workbox-build";

/** The page's modules of wasm: the engine, and the tabletop's scenes. */
const MODULES = ["www/wasm/unireal", "www/wasm/tabletop"];

const hash = (bytes, encoding) => createHash("sha256").update(bytes).digest(encoding);

/**
 * Puts a part of a wasm's hash into the address by which the code next to it asks for it. The page and the service
 * worker may then share one download of it (the address stands for these bytes, so any cache may answer). The code gets the
 * whole hash as well and runs nothing else: so code and wasm of two versions cannot meet even on a first visit, and a wasm
 * that a host or a cache has changed does not start.
 * @param {string} folder
 * @param {string} module its path without the endings
 * @returns {Promise<[string, string]>} its path, and the address, relative to the site
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

/** Makes DIR/service-worker.js. Whatever changes a file of the site has to come before. @param {string} folder */
export async function makeOffline(folder) {
  const wasm = new Map(await Promise.all(MODULES.map((module) => addressWasm(folder, module))));
  /** A file that is not the one that was built, as while a new version is being copied to its host, ends the installation. */
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
    // Whatever stands in the address of the page: were it to come from the network, its code would still be the kept one.
    ignoreURLParametersMatching: [/./],
    // The first visit is served by what it has brought; a later version waits until the page asks for it.
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
  console.error(`${count} files, ${(size / 1e6).toFixed(1)} MB, are kept for visits without a network`);
}
