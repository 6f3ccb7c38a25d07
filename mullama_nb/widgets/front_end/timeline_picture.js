// @ts-check
// The piece of the graph in a row: its checkpoint, and the lines through it.

import { element, shape } from "./dom.js";
import { isLive } from "./graph.js";
import { ROW } from "./timeline_parts.js";

/** @import { RowFacts } from "./timeline_row.js" */

const LANE = 14, LEFT = 12, RADIUS = 4.5;

/** The sign for a message that was forked inside; the same as in `mullama_nb.history.drawing`. */
export const FORK = "M3 13V1M3 9Q9 9 9 5V1";

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
  svg.append(drawDot(x(lane), kinds.filter(Boolean).join(" "), facts.isSpilled));
  return svg;
}

/**
 * A message: dashed if it is unfinished, a square if its rows are not in memory.
 *
 * @param {number} x
 * @param {string} kinds
 * @param {boolean} isSpilled
 */
function drawDot(x, kinds, isSpilled) {
  if (!isSpilled) {
    return shape("circle", { cx: x, cy: ROW / 2, r: RADIUS, class: `dot ${kinds}`.trim() });
  }
  const corner = { x: x - RADIUS + 0.5, y: ROW / 2 - RADIUS + 0.5, rx: 1 };
  const side = 2 * RADIUS - 1;
  return shape("rect", { ...corner, width: side, height: side, class: `dot ${kinds}`.trim() });
}

/** A sign for a message that was forked inside. @param {string} words empty: none, as in a legend */
export function drawFork(words) {
  const size = { width: 12, height: 14, viewBox: "0 0 12 14" };
  const named = words ? ["role", "img"] : ["aria-hidden", "true"];
  const svg = shape("svg", { class: "fork", ...size, [named[0]]: named[1] });
  if (words) svg.append(shape("title", {}, words));
  svg.append(shape("path", { d: FORK }));
  return svg;
}

/**
 * What the signs mean, of those that a tree has.
 *
 * @param {{ unfinished: boolean, spilled: boolean, forked: boolean }} has
 */
export function drawLegend({ unfinished, spilled, forked }) {
  const dot = (/** @type {string} */ kinds, /** @type {boolean} */ isSpilled) => {
    const svg = shape("svg", { width: 14, height: ROW, "aria-hidden": "true" });
    svg.append(drawDot(7, kinds, isSpilled));
    return svg;
  };
  return [
    unfinished ? element("span", {}, dot("unfinished", false), "unfinished") : null,
    spilled ? element("span", {}, dot("", true), "spilled: its rows are not in memory") : null,
    forked ? element("span", {}, drawFork(""), "forked inside a message") : null,
  ].filter((each) => each !== null);
}
