/** Random numbers with a seed. Pages may import this module too. */

/** Returns the mulberry32 generator: a function that returns numbers in [0, 1). @param {number} seed */
export function mulberry32(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Returns the seed of a random test and prints it. `SEED=N` repeats a run.
 * @param {import("node:test").TestContext} t
 */
export function printedSeed(t) {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32));
  t.diagnostic(`seed ${seed}`);
  return seed;
}
