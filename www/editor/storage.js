/** The model's use of this browser's storage, and whether that storage is persistent. */
import { UniReal } from "../unireal.js";

/** Requests persistent storage, which the browser does not evict when space runs short. The browser may ask the user. */
export async function askToKeep() {
  try {
    await navigator.storage.persist();
  } catch (error) {
    console.warn("UniReal: this browser makes no promise about its storage:", error);
  }
}

/** @param {string} pack @returns {Promise<{ bytes: number, promised: boolean }>} */
export async function use(pack) {
  try {
    const [bytes, promised] = await Promise.all([UniReal.storedBytes(pack), navigator.storage.persisted()]);
    return { bytes, promised };
  } catch {
    // The browser has no storage, or the address is invalid; the load reports that.
    return { bytes: 0, promised: false };
  }
}
