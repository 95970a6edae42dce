/** A request as the fragment of an address: words, tags, settings and the roles of the pictures, never a picture. */

import { MOST } from "./pictures.js";
import { FIELDS } from "./settings.js";

/** Marks a fragment as one of these. */
const MARK = "unireal";
const ROLES = ["canvas", "asset", "control"];
const MOST_WORDS = 4000;

/**
 * @param {{ prompt: string, context: string[] | null, outputs: number, steps: number, guidance: number,
 *   imageGuidance: number, keep: boolean, seed: number }} request
 * @param {import("../unireal.d.ts").Role[]} roles
 * @returns {string} with its #
 */
export function toFragment(request, roles) {
  const fields = new URLSearchParams({ [MARK]: "1", prompt: request.prompt });
  for (const [name, key] of Object.entries(FIELDS)) {
    fields.set(key, String(request[name]));
  }
  if (!request.keep) {
    fields.set("keep", "0");
  }
  (request.context ?? []).forEach((tag) => fields.append("tag", tag));
  roles.forEach((role) => fields.append("role", role));
  return `#${fields}`;
}

/**
 * Reads what a link holds. Anybody may have written it: what is no number or no role is left out, and the editor's
 * fields take the rest within their own limits.
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
    keep: fields.get("keep") !== "0",
  };
  return { request, roles: fields.getAll("role").filter((role) => ROLES.includes(role)).slice(0, MOST) };
}
