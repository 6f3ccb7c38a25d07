// @ts-check
// The card of one checkpoint, with what its row has no room for.

import { float, placeBeside, sink } from "./afloat.js";
import { element } from "./dom.js";
import { plural, size } from "./format.js";
import { send } from "./kernel.js";
import { tagsOf } from "./timeline_parts.js";

/** @import { Timeline } from "./timeline_parts.js" */

/**
 * @typedef {object} CardContent
 * @property {string} id
 * @property {string} name the short id
 * @property {string} role what it is called in pictures
 * @property {string} text all of it, or as much as is ever shown
 * @property {boolean} is_cut
 * @property {number} tokens
 * @property {number} path tokens from the root to its end
 * @property {number} bytes
 * @property {string[]} states
 */

const REST = 350; // ms for which a pointer rests before a card comes
const CHARACTERS = 1200;

/** @param {Timeline} timeline */
export function makeCard(timeline) {
  const { body, model, state } = timeline;
  const attributes = { class: "mullama-card", role: "tooltip", popover: "manual", hidden: true };
  const card = element("div", attributes);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {string | null} */
  let wanted = null;
  let isOfPointer = false; // else of a key, and the pointer may be anywhere

  /**
   * Have the card of a checkpoint come.
   *
   * @param {string} id
   * @param {boolean} [ofPointer]
   */
  function ask(id, ofPointer = false) {
    clearTimeout(timer);
    wanted = id;
    isOfPointer = ofPointer;
    send(model, "look", { checkpoint: id });
  }

  /** Have it come if the pointer rests. @param {string} id */
  function askSoon(id) {
    clearTimeout(timer);
    timer = setTimeout(() => ask(id, true), REST);
  }

  /** Have it come, or go if it is there. @param {string} id */
  function toggle(id) {
    if (wanted === id) hide();
    else ask(id);
  }

  function hide() {
    clearTimeout(timer);
    wanted = null;
    sink(card);
  }

  /** The pointer leaves a row. */
  function leave() {
    clearTimeout(timer);
    if (isOfPointer) hide();
  }

  /** The rows move: one that is still to come finds its own. */
  function move() {
    if (!card.hidden) hide();
  }

  /** @param {CardContent} content */
  function show(content) {
    const row = timeline.rows.nodeOf(content.id);
    if (content.id !== wanted || !row || timeline.sheet.isOpen || timeline.menu.isOpen) return;
    card.replaceChildren(...drawContent(content, tagsOf(state(), content.id)));
    float(card);
    placeBeside(card, body.getBoundingClientRect(), row.getBoundingClientRect());
  }

  return { node: card, askSoon, toggle, hide, leave, move, show, destroy: hide };
}

/**
 * @param {CardContent} content
 * @param {string[]} tags
 */
function drawContent({ name, role, text, tokens, path, bytes, states }, tags) {
  const figures = [
    plural(tokens, "token"),
    `${size(bytes)} of its own`,
    `path of ${plural(path, "token")}`,
    ...states,
  ];
  const beginning = text.slice(0, CHARACTERS) + (text.length > CHARACTERS ? " …" : "");
  return [
    element(
      "div",
      { class: "mullama-card-head" },
      element("strong", {}, role || "checkpoint"),
      name ? element("code", {}, name) : null,
      tags.map((tag) => element("span", { class: "mark" }, tag)),
    ),
    element("div", { class: "mullama-card-text" }, beginning || "Nothing has been said."),
    element("div", { class: "mullama-card-figures" }, figures.join(" · ")),
  ];
}
