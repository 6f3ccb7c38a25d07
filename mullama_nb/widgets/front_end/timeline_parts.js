// @ts-check
// How the parts of a timeline's view know each other, and what they share.

/** @import { Model, TreeTraits } from "./kernel.js" */
/** @import { Graph } from "./graph.js" */
/** @import { makeCard } from "./timeline_card.js" */
/** @import { Menu } from "./timeline_menu.js" */
/** @import { Rows } from "./timeline_rows.js" */
/** @import { Sheet } from "./timeline_sheet.js" */

export const ROW = 24; // pixels, as in timeline.css

/**
 * @typedef {object} Timeline
 * @property {HTMLElement} body
 * @property {Model<TreeTraits>} model
 * @property {() => Graph} state
 * @property {string | null} focused the row that keys go to; null: that of the head
 * @property {Set<string> | null} hits the rows that a search has found; null: none goes on
 * @property {Rows} rows
 * @property {ReturnType<typeof makeCard>} card
 * @property {Menu} menu
 * @property {Sheet} sheet
 */

/**
 * The tags of a checkpoint.
 *
 * @param {Graph} graph
 * @param {string} id
 */
export function tagsOf(graph, id) {
  const isHere = (/** @type {string} */ at) => graph.rows.has(at) && graph.rowOf(at) === id;
  return Object.keys(graph.tags).filter((tag) => isHere(graph.tags[tag]));
}

/**
 * Hide a branch behind its first row, or show it.
 *
 * @param {Timeline} timeline
 * @param {string} id
 * @param {boolean} folded
 */
export function fold(timeline, id, folded) {
  timeline.state().fold(id, folded);
  timeline.rows.show(id, true);
}
