/** Reads the size of a cached pack without starting the engine. */

/** The folder of all packs. The names of folders are those of src/web/cache.rs. */
const ROOT = "unireal";

async function folderName(url) {
  const text = url.replace(/\?.*$/s, "").replace(/\/+$/, "");
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(digest, 0, 16)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns the bytes of the cached files of the pack at the absolute `url`. @param {string} url @returns {Promise<number>} */
export async function cachedBytes(url) {
  try {
    const root = await (await navigator.storage.getDirectory()).getDirectoryHandle(ROOT);
    const folder = await root.getDirectoryHandle(await folderName(url));
    let sum = 0;
    for await (const entry of folder.values()) {
      sum += (await entry.getFile()).size;
    }
    return sum;
  } catch {
    // Nothing is cached, the browser has no such storage, or a load is renaming a file.
    return 0;
  }
}
