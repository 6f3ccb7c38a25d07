// @ts-check
// The card of one checkpoint, with what its row has no room for.

import { element } from "./dom.js";
import { plural, size } from "./format.js";
import { send } from "./kernel.js";
import { tagsOf } from "./timeline_parts.js";

/** @import { Timeline } from "./timeline_parts.js" */

/**
 * @typedef {object} CardContent
 * @property {string} id
 * @property {string} name the short id
 * @property {string} role
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
  const card = element("div", { class: "mullama-card", role: "tooltip", hidden: true });
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {string | null} */
  let wanted = null;

  /** Have the card of a checkpoint come if the pointer rests. @param {string} id */
  function askFor(id) {
    clearTimeout(timer);
    timer = setTimeout(() => {
      wanted = id;
      send(model, "look", { checkpoint: id });
    }, REST);
  }

  function hide() {
    clearTimeout(timer);
    wanted = null;
    card.hidden = true;
  }

  /** @param {CardContent} content */
  function show(content) {
    const row = timeline.rows.nodeOf(content.id);
    if (content.id !== wanted || !row || timeline.sheet.isOpen) return;
    card.replaceChildren(...drawContent(content, tagsOf(state(), content.id)));
    card.hidden = false;
    const area = body.getBoundingClientRect(), near = row.getBoundingClientRect();
    const room = globalThis.innerHeight - near.bottom;
    const below = near.bottom - area.top + 2;
    const above = Math.max(0, near.top - area.top - card.offsetHeight - 2);
    card.style.top = `${room > card.offsetHeight + 8 ? below : above}px`;
  }

  return { node: card, askFor, hide, show, destroy: () => clearTimeout(timer) };
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
      element("code", {}, name),
      tags.map((tag) => element("span", { class: "mark" }, tag)),
    ),
    element("div", { class: "mullama-card-text" }, beginning || "Nothing has been said."),
    element("div", { class: "mullama-card-figures" }, figures.join(" · ")),
  ];
}
