/** Option names of version 0.1, which still work with a warning until version 0.3. */

const warned = new Set();

/**
 * Returns `options` with `old` moved to `name`, unless `name` is given too.
 * @template {object} T
 * @param {T} options
 * @param {string} old
 * @param {string} name
 * @returns {T} with `name` in place of `old`
 */
export function renamed(options, old, name) {
  const { [old]: value, ...rest } = /** @type {Record<string, unknown>} */ (options ?? {});
  if (value === undefined) {
    return options;
  }
  if (!warned.has(old)) {
    warned.add(old);
    console.warn(`unireal: "${old}" is called "${name}" now; the old name goes with version 0.3`);
  }
  return /** @type {T} */ ({ [name]: value, ...rest });
}
