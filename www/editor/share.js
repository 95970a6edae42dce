/** Encodes a request in a URL fragment: prompt, tags, settings and the roles of the images, but not the images. */

import { MAX_IMAGES } from "./images.js";
import { FIELDS } from "./settings.js";

/** Marks a fragment as a request. */
const MARKER = "unireal";
/** @type {import("../unireal.d.ts").Role[]} */
const ROLES = ["canvas", "asset", "control"];
/** Maximum length of a prompt in characters, as in markup.js. */
const MAX_PROMPT = 4000;

/**
 * @param {{ prompt: string, context: string[] | null, outputs: number, steps: number, guidance: number,
 *   imageGuidance: number, composite: boolean, seed: number }} request
 * @param {import("../unireal.d.ts").Role[]} roles
 * @returns {string} including the #
 */
export function toFragment(request, roles) {
  const fields = new URLSearchParams({ [MARKER]: "1", prompt: request.prompt });
  for (const [name, key] of Object.entries(FIELDS)) {
    fields.set(key, String(request[name]));
  }
  if (!request.composite) {
    fields.set("composite", "0");
  }
  (request.context ?? []).forEach((tag) => fields.append("tag", tag));
  roles.forEach((role) => fields.append("role", role));
  return `#${fields}`;
}

/**
 * Parses a link, which is untrusted input: invalid numbers and roles are dropped, and the editor's fields clamp the
 * rest.
 * @param {string} fragment with or without its #
 * @returns {{ request: any, roles: import("../unireal.d.ts").Role[] } | null} null if the fragment is no request
 */
export function fromFragment(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  if (fields.get(MARKER) !== "1") {
    return null;
  }
  const numbers = Object.entries(FIELDS)
    .map(([name, key]) => [name, fields.get(key)])
    .filter(([, text]) => /^\d+(\.\d+)?$/.test(text ?? ""))
    .map(([name, text]) => [name, Number(text)]);
  const tags = fields.getAll("tag");
  const request = {
    prompt: (fields.get("prompt") ?? "").slice(0, MAX_PROMPT),
    context: tags.length > 0 ? tags : null,
    ...Object.fromEntries(numbers),
    // Links of version 0.1 use `keep`.
    composite: (fields.get("composite") ?? fields.get("keep")) !== "0",
  };
  const roles = fields.getAll("role").flatMap((text) => ROLES.filter((role) => role === text));
  return { request, roles: roles.slice(0, MAX_IMAGES) };
}
