/**
 * The folders of cached packs in the origin's private file system (OPFS). The names of folders are defined here alone:
 * the worker passes a pack's path to the engine, which reads and writes the files in it. The page reads a folder's size
 * and deletes it without starting the engine.
 */
import { UniRealError } from "./error.js";

/** The folder of all packs. */
const ROOT = "unireal";

/** Returns the folder name of the pack at an absolute URL: a hash, because a URL may hold characters that file systems
 * do not allow. Leaves out the query, because it may carry keys that change. */
async function folderName(url) {
  const text = url.replace(/\?.*$/s, "").replace(/\/+$/, "");
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(digest, 0, 16)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Returns the path of the pack's folder, `ROOT/NAME`, or null if this page has no private file system, for example
 * without HTTPS.
 * @param {string} url absolute
 * @returns {Promise<string | null>}
 */
export async function cachePath(url) {
  return navigator.storage && "getDirectory" in navigator.storage && crypto.subtle ? `${ROOT}/${await folderName(url)}` : null;
}

/** Opens the folder of all packs; rejects if it does not exist. */
const openRoot = async () => (await navigator.storage.getDirectory()).getDirectoryHandle(ROOT);

/** Returns the bytes of the pack's cached files. @param {string} url absolute @returns {Promise<number>} */
export async function cachedBytes(url) {
  try {
    const folder = await (await openRoot()).getDirectoryHandle(await folderName(url));
    let sum = 0;
    for await (const entry of folder.values()) {
      // A pack's folder holds only files.
      sum += (await /** @type {FileSystemFileHandle} */ (entry).getFile()).size;
    }
    return sum;
  } catch {
    // Nothing is cached, the browser has no private file system, or a load is renaming a file.
    return 0;
  }
}

/** Deletes the pack's cached files. Rejects with `busy` if a load has one of them open. @param {string} url absolute */
export async function clearCache(url) {
  const root = await openRoot().catch(() => null);
  try {
    await root?.removeEntry(await folderName(url), { recursive: true });
  } catch (cause) {
    if (cause.name === "NoModificationAllowedError") {
      throw new UniRealError("busy", "the cached files are in use by a load, possibly in another tab; wait for it", { cause });
    }
    if (cause.name !== "NotFoundError") {
      throw new UniRealError("internal", `the cached files cannot be deleted: ${cause.message}`, { cause });
    }
  }
}
