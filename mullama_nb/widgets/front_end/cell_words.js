// @ts-check
// Tokens and cells in words, and signs for what has no picture of its own.

import { count, percent, size } from "./format.js";

/** @import { Cell } from "./cell_strip.js" */

/** @type {Record<string, string>} */
const SIGNS = { "\n": "↵", "\t": "⇥", "\x7f": "␡", " ": "␣" };

/**
 * A token's text in one line, with signs for what would not be seen: by the same rules as
 * `mullama_nb.signs`.
 *
 * @param {string} text
 */
export function signs(text) {
  const shown = text.replace(/[\p{C}\p{Z}]/gu, (character) => {
    const code = /** @type {number} */ (character.codePointAt(0));
    if (SIGNS[character]) return SIGNS[character];
    if (code < 32) return String.fromCodePoint(0x2400 + code);
    return `⟨${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
  return /^\p{M}/u.test(shown) ? `◌${shown}` : shown;
}

const SPEAKERS = {
  system: "system",
  user: "you",
  assistant: "model",
  tool: "tool",
  template: "template",
};

/** Who said a token, as the legend names it. @param {string} role */
export function speaker(role) {
  return role in SPEAKERS ? SPEAKERS[/** @type {keyof typeof SPEAKERS} */ (role)] : role;
}

const PLACES = {
  context: "in the context",
  memory: "kept in memory",
  disk: "kept on disk",
  dropped: "dropped: evaluated again when needed",
};

/** Where a token's row is. @param {string} place */
export function whereabouts(place) {
  return place in PLACES ? PLACES[/** @type {keyof typeof PLACES} */ (place)] : place;
}

const LONGEST = 80; // characters of a token

/**
 * A cell in words: the token apart, and what is known of it.
 *
 * @param {Cell} cell
 * @returns {{ token: string, facts: string[] }}
 */
export function describe(cell) {
  const { position, text, role, place, probability, bytes, checkpoint } = cell;
  const shown = signs(text);
  const facts = [
    `position ${count(position)}`,
    speaker(role),
    probability === null ? "given" : percent(probability),
    bytes ? size(bytes) : "",
    whereabouts(place),
    cell.isAgain ? "evaluated again" : "",
    checkpoint ? `checkpoint ${checkpoint.slice(0, 7)}` : "not yet a checkpoint",
  ];
  const token = shown.length > LONGEST ? `${shown.slice(0, LONGEST)}…` : shown;
  return { token: token || "(no text)", facts: facts.filter(Boolean) };
}
