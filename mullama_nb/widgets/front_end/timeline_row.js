// @ts-check
// One row of the timeline: what it depends on, and its element.

import { element } from "./dom.js";
import { plural, size } from "./format.js";
import { isLive } from "./graph.js";
import { send } from "./kernel.js";
import { fold } from "./timeline_parts.js";
import { drawPicture } from "./timeline_picture.js";

/** @import { Graph, Row } from "./graph.js" */
/** @import { Place } from "./lanes.js" */
/** @import { Timeline } from "./timeline_parts.js" */

/**
 * All that a row's looks depend on.
 *
 * @typedef {object} RowFacts
 * @property {Row} row
 * @property {number} lane
 * @property {number | null} parentLane null for the root
 * @property {[lane: number, isActive: boolean][]} lines that go past it
 * @property {number} width of the picture
 * @property {string[]} tags
 * @property {boolean} isActive whether it lies on the way to the head
 * @property {boolean} isPassed whether that way goes on behind it
 * @property {boolean} isHead
 * @property {number} nChildren
 * @property {number} nHidden checkpoints that are folded away behind it
 */

/**
 * @param {Graph} graph
 * @param {Place} place
 * @param {number} width
 * @param {string[]} tags
 * @returns {RowFacts}
 */
export function gatherFacts(graph, { id, lane, lines }, width, tags) {
  const row = /** @type {Row} */ (graph.rows.get(id));
  const at = graph.place.get(id) ?? 0;
  const parentAt = graph.place.get(row.parent);
  return {
    row,
    lane,
    parentLane: parentAt === undefined ? null : graph.order[parentAt].lane,
    lines: lines.map(({ lane, from }) => {
      const next = graph.next.get(from);
      return [lane, next !== undefined && (graph.place.get(next) ?? -1) > at];
    }),
    width,
    tags,
    isActive: graph.active.has(id),
    isPassed: graph.next.has(id),
    isHead: id === graph.head,
    nChildren: graph.children(id).length,
    nHidden: graph.folded.has(id) ? graph.subtree(id).length - 1 : 0,
  };
}

/**
 * @param {Timeline} timeline
 * @param {RowFacts} facts
 */
export function drawRow(timeline, facts) {
  return isLive(facts.row.id) ? drawLive(facts) : drawCheckpoint(timeline, facts);
}

/** The row of an answer that grows; there is nothing to do with it yet. @param {RowFacts} facts */
function drawLive(facts) {
  const { row, lane } = facts;
  const attributes = {
    class: `mullama-row growing${facts.isActive ? " active" : ""}`,
    role: "treeitem",
    "aria-level": lane + 1,
    "data-id": row.id,
  };
  return element(
    "div",
    attributes,
    drawPicture(facts),
    element("span", { class: "role" }, "…"),
    element("span", { class: "text tail" }, element("bdi", {}, row.text)),
    element("span", { class: "figure" }, row.tokens),
    element("span", { class: "figure bytes" }),
    element("span", { class: "more" }),
  );
}

/**
 * @param {Timeline} timeline
 * @param {RowFacts} facts
 */
function drawCheckpoint(timeline, facts) {
  const { row, tags, isHead, nHidden } = facts;
  const { id } = row;
  const kinds = [row.hasThought ? "thought" : "", row.hasCalls ? "call" : ""].filter(Boolean);
  const states = [row.isUnfinished ? "unfinished" : "", row.isSpilled ? "spilled" : ""];
  const shown = states.filter(Boolean);
  const about = [row.role, row.text, plural(row.tokens, "token"), ...tags, ...kinds, ...shown];
  const classes = ["mullama-row", facts.isActive ? "active" : "", isHead ? "head" : ""];
  const attributes = {
    class: classes.filter(Boolean).join(" "),
    role: "treeitem",
    "data-id": id,
    "aria-level": facts.lane + 1,
    "aria-selected": isHead ? "true" : "false",
    "aria-label": about.filter(Boolean).join(", "),
    "aria-expanded": facts.nChildren ? (nHidden ? "false" : "true") : null,
    tabindex: -1,
    ...listeners(timeline, id),
  };
  return element(
    "div",
    attributes,
    drawPicture(facts),
    element("span", { class: "role" }, row.role),
    element("span", { class: "text" }, row.text),
    nHidden ? drawUnfold(timeline, id, nHidden) : null,
    tags.map((tag) => element("span", { class: "mark" }, tag)),
    kinds.map((kind) => element("span", { class: "mark kind" }, kind)),
    shown.map((state) => element("span", { class: "mark state" }, state)),
    element("span", { class: "figure" }, row.tokens || ""),
    element("span", { class: "figure bytes" }, row.tokens ? size(row.bytes) : ""),
    drawMore(timeline, id),
  );
}

/**
 * @param {Timeline} timeline
 * @param {string} id
 */
function listeners(timeline, id) {
  return {
    oncontextmenu: (/** @type {Event} */ event) => {
      event.preventDefault();
      timeline.sheet.openMenu(id);
    },
    onclick: () => {
      timeline.focused = id;
      send(timeline.model, "checkout", { checkpoint: id });
    },
    onmouseenter: () => timeline.card.askFor(id),
    onmouseleave: () => timeline.card.hide(),
    onfocus: () => {
      timeline.focused = id;
      timeline.card.askFor(id);
    },
    onblur: () => timeline.card.hide(),
  };
}

/**
 * @param {Timeline} timeline
 * @param {string} id
 * @param {number} n
 */
function drawUnfold(timeline, id, n) {
  const onclick = (/** @type {Event} */ event) => {
    event.stopPropagation();
    fold(timeline, id, false);
  };
  return element("button", { class: "fold", tabindex: -1, title: "Unfold", onclick }, `+${n}`);
}

/**
 * @param {Timeline} timeline
 * @param {string} id
 */
function drawMore(timeline, id) {
  const onclick = (/** @type {Event} */ event) => {
    event.stopPropagation();
    timeline.sheet.openMenu(id);
  };
  const names = { "aria-label": "Menu", "aria-haspopup": "menu" };
  return element("button", { class: "more", tabindex: -1, ...names, onclick }, "⋯");
}
