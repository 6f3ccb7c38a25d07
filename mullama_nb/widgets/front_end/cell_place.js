// @ts-check
// Where cells lie on the sheet, at each zoom.

/** @import { Cells } from "./cell_strips.js" */

const WIDTHS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 34, 46, 58, 80]; // pixels of a cell
const READABLE = 58; // from where texts of most tokens fit
const APART = 4; // from where cells are told apart
const FEW = 120; // cells that are worth reading at once, though not all are in view
const FEW_LANES = 6;
const WIDEST = 15e6; // pixels: browsers lay out no wider sheet

export const AXIS = 18; // pixels above the cells
export const LEFT = 6; // and beside them

/**
 * What a zoom level makes of a cell.
 *
 * @typedef {object} Scale
 * @property {number} level
 * @property {number} width pixels from one cell to the next
 * @property {number} height pixels of a cell
 * @property {number} pitch pixels from one lane to the next
 * @property {boolean} areApart whether cells are told apart
 * @property {boolean} areRead whether they show their text
 */

/**
 * @param {number} level
 * @param {number} nLanes few of them are drawn higher
 * @returns {Scale}
 */
export function scaleAt(level, nLanes) {
  const kept = Math.max(0, Math.min(WIDTHS.length - 1, level));
  const width = WIDTHS[kept];
  const least = width < 4 ? 5 : width < 12 ? 9 : width < 24 ? 14 : width < 46 ? 22 : 34;
  const height = Math.max(least, nLanes <= FEW_LANES ? 22 : 0);
  const pitch = height + (width < 12 ? 4 : 8);
  return { level: kept, width, height, pitch, areApart: width >= APART, areRead: width >= 24 };
}

/**
 * The level at which a view begins: all in sight, or what can be read of a few cells.
 *
 * @param {Cells} cells
 * @param {number} room pixels
 */
export function fittingLevel({ extent }, room) {
  const widest = WIDTHS.indexOf(READABLE);
  let level = widest;
  while (level > 0 && extent * WIDTHS[level] + 2 * LEFT > room) level--;
  return extent <= FEW ? widest : level;
}

/**
 * The sheet's extent in pixels.
 *
 * @param {Cells} cells
 * @param {Scale} scale
 */
export function sheetSize({ nCtx, extent, nLanes }, { width, pitch }) {
  const cells = Math.max(nCtx, extent);
  return {
    width: Math.min(WIDEST, 2 * LEFT + cells * width),
    height: AXIS + Math.max(1, nLanes) * pitch + 2,
  };
}

/** @param {Scale} scale @param {number} position */
export function xOf({ width }, position) {
  return LEFT + position * width;
}

/** @param {Scale} scale @param {number} lane */
export function yOf({ pitch }, lane) {
  return AXIS + lane * pitch;
}

/**
 * The position and lane below a point of the sheet.
 *
 * @param {Scale} scale
 * @param {number} x
 * @param {number} y
 */
export function placeAt({ width, pitch }, x, y) {
  return { position: Math.floor((x - LEFT) / width), lane: Math.floor((y - AXIS) / pitch) };
}

/**
 * Round numbers of positions for the axis, so that their labels stay apart.
 *
 * @param {number} width of a cell
 */
export function tickStep(width) {
  const least = 44 / width;
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least) ?? power;
}
