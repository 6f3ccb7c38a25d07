// @ts-check
// Where the cursor goes: from cell to cell, and from branch to branch.

/** @import { Spot, Strip } from "./cell_strip.js" */
/** @import { Cells } from "./cell_strips.js" */

/**
 * The cell to which a key goes from one; null for keys that go nowhere.
 *
 * @param {Cells} cells
 * @param {Spot} spot
 * @param {string} key
 * @returns {Spot | null}
 */
export function goTo(cells, spot, key) {
  switch (key) {
    case "ArrowRight":
      return ahead(cells, spot);
    case "ArrowLeft":
      return back(spot);
    case "ArrowDown":
      return beside(cells, spot, 1);
    case "ArrowUp":
      return beside(cells, spot, -1);
    case "Home":
      return first(spot);
    case "End":
      return last(cells, spot.strip);
    default:
      return null;
  }
}

/**
 * @param {Cells} cells
 * @param {Spot} spot
 */
function ahead(cells, { strip, position }) {
  if (position + 1 < strip.stop) return { strip, position: position + 1 };
  const next = cells.nextOf(strip);
  return next ? { strip: next, position: next.start } : { strip, position };
}

/** @param {Spot} spot */
function back({ strip, position }) {
  if (position > strip.start) return { strip, position: position - 1 };
  const { parent } = strip;
  return parent ? { strip: parent, position: parent.stop - 1 } : { strip, position };
}

/**
 * The nearest cell on the nearest lane above or below.
 *
 * @param {Cells} cells
 * @param {Spot} spot
 * @param {1 | -1} side
 */
function beside(cells, { strip, position }, side) {
  const away = (/** @type {Strip} */ other) =>
    Math.max(other.start - position, position - other.stop + 1, 0);
  /** @type {Strip | null} */
  let found = null;
  for (const other of cells.strips) {
    const lanes = (other.lane - strip.lane) * side;
    if (lanes <= 0 || other.start === other.stop) continue;
    const isNearer = !found || lanes < (found.lane - strip.lane) * side ||
      (other.lane === found.lane && away(other) < away(found));
    if (isNearer) found = other;
  }
  if (!found) return { strip, position };
  return { strip: found, position: Math.max(found.start, Math.min(found.stop - 1, position)) };
}

/** @param {Spot} spot */
function first({ strip }) {
  let at = strip;
  while (at.parent) at = at.parent;
  return { strip: at, position: at.start };
}

/**
 * @param {Cells} cells
 * @param {Strip} strip
 */
function last(cells, strip) {
  let at = strip;
  for (let next = cells.nextOf(at); next; next = cells.nextOf(at)) at = next;
  return { strip: at, position: at.stop - 1 };
}
