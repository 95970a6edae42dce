/** Encodes a request in a URL fragment: prompt, tags, settings and the roles of the images, but not the images. */

import { MOST } from "./pictures.js";
import { FIELDS } from "./settings.js";

/** Marks a fragment as a request. */
const MARK = "unireal";
const ROLES = ["canvas", "asset", "control"];
const MOST_WORDS = 4000;

/**
 * @param {{ prompt: string, context: string[] | null, outputs: number, steps: number, guidance: number,
 *   imageGuidance: number, composite: boolean, seed: number }} request
 * @param {import("../unireal.d.ts").Role[]} roles
 * @returns {string} including the #
 */
export function toFragment(request, roles) {
  const fields = new URLSearchParams({ [MARK]: "1", prompt: request.prompt });
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
 */
export function fromFragment(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  if (fields.get(MARK) !== "1") {
    return null;
  }
  const numbers = Object.entries(FIELDS)
    .map(([name, key]) => [name, fields.get(key)])
    .filter(([, text]) => /^\d+(\.\d+)?$/.test(text ?? ""))
    .map(([name, text]) => [name, Number(text)]);
  const tags = fields.getAll("tag");
  const request = {
    prompt: (fields.get("prompt") ?? "").slice(0, MOST_WORDS),
    context: tags.length > 0 ? tags : null,
    ...Object.fromEntries(numbers),
    // Links of version 0.1 use `keep`.
    composite: (fields.get("composite") ?? fields.get("keep")) !== "0",
  };
  return { request, roles: fields.getAll("role").filter((role) => ROLES.includes(role)).slice(0, MOST) };
}
