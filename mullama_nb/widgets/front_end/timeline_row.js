// @ts-check
// One row of the timeline: what it depends on, and its element.

import { element } from "./dom.js";
import { plural, size } from "./format.js";
import { isLive } from "./graph.js";
import { send } from "./kernel.js";
import { fold } from "./timeline_parts.js";
import { drawFork, drawPicture } from "./timeline_picture.js";

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
 * @property {number} nHidden messages that are folded away behind it
 * @property {number} tokens of its message
 * @property {number} bytes of its own
 * @property {number} nShared tokens that it shares with an older version of the message
 * @property {boolean} isSpilled
 * @property {boolean} isHit whether a search has found it
 * @property {boolean} isDim whether it has not
 */

/**
 * @param {Graph} graph
 * @param {Place} place
 * @param {number} width
 * @param {string[]} tags
 * @param {Set<string> | null} hits of a search
 * @returns {RowFacts}
 */
export function gatherFacts(graph, { id, lane, lines }, width, tags, hits) {
  const row = /** @type {Row} */ (graph.rows.get(id));
  const at = graph.place.get(id) ?? 0;
  const parentAt = graph.place.get(graph.parentRow(id));
  const parts = graph.parts(id);
  const own = parts.slice(0, parts.indexOf(graph.ownBegin(id)) + 1);
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
    isHead: id === graph.headRow,
    nChildren: graph.rowsBelow(id).length,
    nHidden: graph.folded.has(id) ? graph.countBelow(id) : 0,
    tokens: graph.tokensOf(parts),
    bytes: own.reduce((n, part) => n + (graph.rows.get(part)?.bytes ?? 0), 0),
    nShared: graph.sharedTokens(id),
    isSpilled: parts.some((part) => graph.rows.get(part)?.isSpilled),
    isHit: hits !== null && hits.has(id),
    isDim: hits !== null && !hits.has(id),
  };
}

/**
 * @param {Timeline} timeline
 * @param {RowFacts} facts
 */
export function drawRow(timeline, facts) {
  return isLive(facts.row.id) ? drawLive(facts) : drawCheckpoint(timeline, facts);
}

/** @param {RowFacts} facts */
function classesOf({ isActive, isHead, isHit, isDim }) {
  const classes = { active: isActive, head: isHead, hit: isHit, dim: isDim };
  return Object.entries(classes).filter(([, is]) => is).map(([name]) => name);
}

/** The row of an answer that grows; there is nothing to do with it yet. @param {RowFacts} facts */
function drawLive(facts) {
  const { row, lane } = facts;
  const attributes = {
    class: ["mullama-row growing", ...classesOf(facts)].join(" "),
    role: "treeitem",
    "aria-level": lane + 1,
    "data-id": row.id,
  };
  return element(
    "div",
    attributes,
    drawPicture(facts),
    element("span", { class: "role" }, "Model"),
    element("span", { class: "text tail" }, element("bdi", {}, row.text)),
    element("span", { class: "figure" }, facts.tokens),
    element("span", { class: "figure bytes" }),
    element("span", { class: "more" }),
  );
}

/**
 * @param {Timeline} timeline
 * @param {RowFacts} facts
 */
function drawCheckpoint(timeline, facts) {
  const { row, tags, isHead, nHidden, nShared } = facts;
  const { id } = row;
  const kinds = [row.hasThought ? "thought" : "", row.hasCalls ? "call" : ""].filter(Boolean);
  const states = [row.isUnfinished ? "unfinished" : "", facts.isSpilled ? "spilled" : ""];
  const shown = states.filter(Boolean);
  const forked = nShared ? `forked at token ${nShared}` : "";
  const length = plural(facts.tokens, "token");
  const about = [row.role, row.text, length, forked, ...tags, ...kinds, ...shown];
  const attributes = {
    class: ["mullama-row", ...classesOf(facts)].join(" "),
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
    nShared ? drawFork(forked) : null,
    element("span", { class: "text" }, row.text),
    nHidden ? drawUnfold(timeline, id, nHidden) : null,
    tags.map((tag) => element("span", { class: "mark" }, tag)),
    kinds.map((kind) => element("span", { class: "mark kind" }, kind)),
    shown.map((state) => element("span", { class: "mark state" }, state)),
    element("span", { class: "figure" }, facts.tokens || ""),
    element("span", { class: "figure bytes" }, facts.tokens ? size(facts.bytes) : ""),
    drawMore(timeline, id),
  );
}

/**
 * @param {Timeline} timeline
 * @param {string} id
 */
function listeners(timeline, id) {
  return {
    oncontextmenu: (/** @type {MouseEvent} */ event) => {
      event.preventDefault();
      event.stopPropagation(); // else JupyterLab opens its own
      timeline.menu.open(id, event);
    },
    onclick: () => {
      timeline.focused = id;
      send(timeline.model, "checkout", { checkpoint: id });
    },
    onmouseenter: (/** @type {MouseEvent} */ { currentTarget }) => {
      if (isCut(/** @type {HTMLElement} */ (currentTarget))) timeline.card.askSoon(id);
    },
    onmouseleave: () => timeline.card.leave(),
    onfocus: () => timeline.focused = id,
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
  const names = { title: "Unfold", "aria-label": `+${n}: unfold` };
  return element("button", { class: "fold", tabindex: -1, ...names, onclick }, `+${n}`);
}

/**
 * The way to the menu; a press on it never reaches the row.
 *
 * @param {Timeline} timeline
 * @param {string} id
 */
function drawMore(timeline, id) {
  const onclick = (/** @type {MouseEvent} */ event) => {
    event.stopPropagation();
    timeline.menu.open(id, event);
  };
  const names = { "aria-label": "Menu", "aria-haspopup": "menu" };
  return element("button", { class: "more", tabindex: -1, ...names, onclick }, "⋯");
}

/** Whether there is no room for all of a row's text. @param {HTMLElement} node */
function isCut(node) {
  const text = /** @type {HTMLElement} */ (node.querySelector(".text"));
  return text.scrollWidth > text.clientWidth || (text.textContent ?? "").endsWith("…");
}
