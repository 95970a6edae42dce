/** The model in this browser's storage: how much it takes, and whether the browser promised to keep it. */
import { UniReal } from "../unireal.js";

/** Asks the browser to keep what it stores when space runs short. The browser may ask the person, or decide by itself. */
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
    // A browser without storage, or an address that is none: the load says so.
    return { bytes: 0, promised: false };
  }
}
