/** The model's use of this browser's storage, and whether that storage is persistent. */
import { UniReal } from "../unireal.js";

/** Requests persistent storage, which the browser does not evict when space runs short. The browser may ask the user. */
export async function requestPersistence() {
  try {
    await navigator.storage.persist();
  } catch (error) {
    console.warn("UniReal: persistent storage cannot be requested:", error);
  }
}

/** @param {string} pack @returns {Promise<{ bytes: number, persistent: boolean }>} */
export async function storageUse(pack) {
  try {
    const [bytes, persistent] = await Promise.all([UniReal.storedBytes(pack), navigator.storage.persisted()]);
    return { bytes, persistent };
  } catch {
    // The browser has no storage, or the address is invalid; the load reports that.
    return { bytes: 0, persistent: false };
  }
}
