// @ts-check
// The keys of the timeline's rows.

import { send } from "./kernel.js";
import { itemsOf } from "./timeline_menu.js";
import { fold } from "./timeline_parts.js";

/** @import { Timeline } from "./timeline_parts.js" */

const PAGE = 15; // rows

/**
 * @param {Timeline} timeline
 * @param {KeyboardEvent} event
 */
export function onKey(timeline, event) {
  const target = /** @type {Element} */ (event.target);
  if (target.closest("button") || event.ctrlKey || event.metaKey || event.altKey) return;
  const { focused, state } = timeline;
  const id = focused !== null && state().place.has(focused) ? focused : state().headRow;
  const isMenu = event.key === "F10" && event.shiftKey;
  const act = moves(timeline, id)[event.key] ?? actions(timeline, id)[isMenu ? "m" : event.key];
  if (!act) return;
  act();
  event.preventDefault();
  event.stopPropagation();
}

/**
 * @param {Timeline} timeline
 * @param {string} id
 * @returns {Record<string, () => unknown>}
 */
function moves(timeline, id) {
  const { rows, state } = timeline;
  const { order, place } = state();
  const at = place.get(id) ?? 0;
  const go = (/** @type {number} */ to) =>
    rows.show(order[Math.max(0, Math.min(order.length - 1, to))].id, true);
  return {
    ArrowDown: () => go(at + 1),
    ArrowUp: () => go(at - 1),
    PageDown: () => go(at + PAGE),
    PageUp: () => go(at - PAGE),
    Home: () => go(0),
    End: () => go(order.length - 1),
    ArrowLeft: () => goOut(timeline, id),
    ArrowRight: () => goIn(timeline, id),
  };
}

/**
 * @param {Timeline} timeline
 * @param {string} id
 * @returns {Record<string, () => unknown>}
 */
function actions(timeline, id) {
  const { card, menu, model } = timeline;
  const items = itemsOf(timeline, id).map(({ key, act, off }) => [key, off ? () => {} : act]);
  return {
    ...Object.fromEntries(items),
    " ": () => card.toggle(id),
    u: () => send(model, "undo"),
    r: () => send(model, "redo"),
    m: () => menu.open(id),
    ContextMenu: () => menu.open(id),
    Escape: () => card.hide(),
  };
}

/**
 * Fold a branch, or go to its parent where there is nothing to fold.
 *
 * @param {Timeline} timeline
 * @param {string} id
 */
function goOut(timeline, id) {
  const graph = timeline.state();
  const parent = graph.parentRow(id);
  if (!graph.folded.has(id) && graph.canFold(id)) fold(timeline, id, true);
  else if (parent) timeline.rows.show(parent, true);
}

/**
 * Unfold a branch, or go to its first child.
 *
 * @param {Timeline} timeline
 * @param {string} id
 */
function goIn(timeline, id) {
  const graph = timeline.state();
  const [first] = graph.rowsBelow(id);
  if (graph.folded.has(id)) fold(timeline, id, false);
  else if (first) timeline.rows.show(first, true);
}
