// @ts-check
// The tree as a version-control graph to click.

import { define } from "./define.js";
import { Graph } from "./graph.js";
import { STEP_KEYS } from "./keys.js";
import { makeBar } from "./timeline_bar.js";
import { makeCard } from "./timeline_card.js";
import { onKey } from "./timeline_keys.js";
import { Menu } from "./timeline_menu.js";
import { Rows } from "./timeline_rows.js";
import { Sheet } from "./timeline_sheet.js";

/** @import { Change as GraphChange, Snapshot } from "./graph.js" */
/** @import { Model, TreeTraits } from "./kernel.js" */
/** @import { CardContent } from "./timeline_card.js" */
/** @import { Timeline } from "./timeline_parts.js" */
/** @import { Comparison } from "./timeline_sheet.js" */

/**
 * A change of the graph, the whole of it anew, or what an action found out.
 *
 * @typedef {GraphChange & { all?: Snapshot, card?: CardContent, comparison?: Comparison }} Change
 */

/** @param {Partial<Snapshot>} snapshot */
function start(snapshot) {
  return new Graph(snapshot);
}

/**
 * @param {Graph} graph
 * @param {Change} change
 */
export function apply(graph, change) {
  if (!change.all) {
    graph.apply(change);
    return graph;
  }
  const next = start(change.all);
  for (const id of graph.folded) if (next.rows.has(id)) next.fold(id, true);
  if (change.live) next.grow(change.live);
  for (const grown of change.explored ?? []) next.growExplored(grown);
  return next;
}

/**
 * @param {HTMLElement} body
 * @param {{ model: Model<TreeTraits>, state: () => Graph }} scope
 */
function draw(body, { model, state }) {
  const timeline = /** @type {Timeline} */ ({ body, model, state, focused: null, hits: null });
  const bar = makeBar(timeline);
  const rows = timeline.rows = new Rows(timeline);
  const card = timeline.card = makeCard(timeline);
  const menu = timeline.menu = new Menu(timeline);
  const sheet = timeline.sheet = new Sheet(timeline);
  rows.node.addEventListener("keydown", (event) => onKey(timeline, event));
  body.append(bar.node, rows.node, bar.legend, card.node, menu.node, sheet.node);
  return {
    /** @param {Change | null} change */
    update(change) {
      if (change?.card) {
        sheet.copy(change.card);
        return card.show(change.card);
      }
      if (change?.comparison) return sheet.showComparison(change.comparison);
      if (change?.head) timeline.focused = null;
      bar.update();
      if (change?.gone) {
        sheet.closeIfGone();
        menu.closeIfGone();
      }
      rows.paint();
      if (!change) rows.goToEnd();
      else if (change.head || change.live || change.explored) rows.follow();
    },
    destroy() {
      card.destroy();
      menu.close();
      rows.destroy();
    },
  };
}

export default define({ start, apply, draw, keys: STEP_KEYS });
