/** Option names of version 0.1, which still work with a warning until version 0.3. */

const warned = new Set();

/**
 * Returns `options` with `old` moved to `name`, unless `name` is given too.
 * @template {object} T
 * @param {T} options
 * @param {string} old
 * @param {string} name
 * @returns {T}
 */
export function renamed(options, old, name) {
  if (options?.[old] === undefined) {
    return options;
  }
  if (!warned.has(old)) {
    warned.add(old);
    console.warn(`unireal: "${old}" is called "${name}" now; the old name goes with version 0.3`);
  }
  const { [old]: value, ...rest } = options;
  return { [name]: value, ...rest };
}
