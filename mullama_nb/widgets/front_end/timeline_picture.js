// @ts-check
// The piece of the graph in a row: its checkpoint, and the lines through it.

import { shape } from "./dom.js";
import { isLive } from "./graph.js";
import { ROW } from "./timeline_parts.js";

/** @import { RowFacts } from "./timeline_row.js" */

const LANE = 14, LEFT = 12, RADIUS = 4.5;

/** How wide the pictures are that show lanes up to this one. @param {number} lane */
export function widthFor(lane) {
  return LEFT * 2 + LANE * lane;
}

/** @param {RowFacts} facts */
export function drawPicture(facts) {
  const { row, lane, parentLane, lines, width, isActive, isHead } = facts;
  const svg = shape("svg", { width, height: ROW, "aria-hidden": "true" });
  const x = (/** @type {number} */ lane) => LEFT + lane * LANE;
  const line = (/** @type {string} */ d, /** @type {boolean} */ isActive) =>
    svg.append(shape("path", { d, class: isActive ? "active" : "" }));
  for (const [lane, isActive] of lines) line(`M${x(lane)} 0V${ROW}`, isActive);
  if (parentLane === lane) line(`M${x(lane)} 0V${ROW / 2}`, isActive);
  else if (parentLane !== null) {
    line(`M${x(parentLane)} 0Q${x(parentLane)} ${ROW / 2} ${x(lane)} ${ROW / 2}`, isActive);
  }
  if (facts.nChildren && !facts.nHidden) line(`M${x(lane)} ${ROW / 2}V${ROW}`, facts.isPassed);
  const kinds = [
    isHead ? "head" : isActive ? "active" : "",
    row.isUnfinished || isLive(row.id) ? "unfinished" : "",
  ];
  const dot = { cx: x(lane), cy: ROW / 2, r: RADIUS, class: kinds.filter(Boolean).join(" ") };
  svg.append(shape("circle", dot));
  return svg;
}
