// @ts-check
// The tokens of a conversation, one section for each message, in a window that can be moved.

import { element } from "./dom.js";

const MOST = 2048; // tokens that are drawn

/**
 * Where each message begins, and its role.
 *
 * @typedef {[start: number, role: string][]} Starts
 */

/**
 * A message, or as much of it as is drawn.
 *
 * @typedef {{ start: number, role: string, node: HTMLElement, text: HTMLElement,
 *   places: HTMLButtonElement[] }} Section
 */

/**
 * Where the tokens begin that are drawn: as before, or else at the end, or around the chosen one.
 *
 * @param {number} n tokens
 * @param {number | null} chosen
 * @param {number} from where they began
 */
export function windowStart(n, chosen, from) {
  const last = Math.max(0, n - MOST);
  const at = Math.min(from, last);
  if (chosen === null || (at <= chosen && chosen < at + MOST)) return at;
  return Math.max(0, Math.min(chosen - MOST / 2, last));
}

/**
 * The sections within a window.
 *
 * @param {Starts} starts
 * @param {number} from
 * @param {number} to
 */
export function clip(starts, from, to) {
  return starts
    .map(([start, role], n) => ({ start, role, end: starts[n + 1]?.[0] ?? to }))
    .filter(({ start, end }) => start < to && end > from)
    .map(({ start, role, end }) => {
      return { start: Math.max(start, from), role, end: Math.min(end, to) };
    });
}

export function makeSections() {
  /** @type {Section[]} */
  let sections = [];
  let from = Infinity, to = 0;
  const node = element("div", { class: "mullama-tokens" });

  /**
   * @param {string[]} pieces
   * @param {Starts} starts
   * @param {number} begin the first token that is drawn
   * @param {number} keep how many tokens are as they were
   */
  function update(pieces, starts, begin, keep) {
    const same = begin === from ? keep : 0;
    from = begin;
    to = Math.min(pieces.length, from + MOST);
    sections = clip(starts, from, to).map(({ start, role, end }, n) => {
      const old = sections[n];
      const section = old?.start === start && old.role === role ? old : makeSection(start, role);
      fill(section, end, pieces, same);
      return section;
    });
    sections.forEach((section, n) => {
      const there = node.children[n];
      if (there !== section.node) node.insertBefore(section.node, there ?? null);
    });
    while (node.children.length > sections.length) node.lastElementChild?.remove();
  }
  /** The buttons of the tokens. */
  const places = () => sections.flatMap((section) => section.places);
  return { node, update, places, range: () => ({ from, to }) };
}

/**
 * @param {number} start
 * @param {string} role
 * @returns {Section}
 */
function makeSection(start, role) {
  const text = element("div", { class: "text" });
  const node = element("div", { class: "section" }, element("div", { class: "role" }, role), text);
  return { start, role, node, text, places: [] };
}

/**
 * Have a section show its tokens; those that are as they were stay, and with them the focus.
 *
 * @param {Section} section
 * @param {number} end
 * @param {string[]} pieces
 * @param {number} keep
 */
function fill({ start, text, places }, end, pieces, keep) {
  const common = Math.max(0, Math.min(places.length, keep - start, end - start));
  for (const place of places.splice(common).reverse()) {
    while (text.lastChild && text.lastChild !== place) text.lastChild.remove();
    place.remove();
  }
  for (let at = start + common; at < end; at++) {
    const piece = pieces[at];
    const place = element("button", { type: "button", "data-n": at, tabindex: -1 }, piece);
    places.push(place);
    text.append(place, "\n".repeat(piece.split("↵").length - 1));
  }
}
