// @ts-check
// Painting what is in sight of the cells.

import { AXIS, tickStep, xOf, yOf } from "./cell_place.js";
import { kindOf } from "./cell_theme.js";
import { signs } from "./cell_words.js";
import { count } from "./format.js";

/** @import { Scale } from "./cell_place.js" */
/** @import { Spot, Strip } from "./cell_strip.js" */
/** @import { Cells } from "./cell_strips.js" */
/** @import { Theme } from "./cell_theme.js" */

/**
 * What is in sight, and what is marked in it.
 *
 * @typedef {object} Sight
 * @property {Scale} scale
 * @property {number} left pixels of the sheet that lie to the left of it
 * @property {number} top
 * @property {number} width pixels
 * @property {number} height
 * @property {Spot | null} cursor
 * @property {Spot | null} hovered
 */

/** How a cell is drawn, by where its row is: a fill, its strength, and a line of dashes. */
const LOOKS = {
  context: { fill: "plain", strength: 0.3, dash: [] },
  memory: { fill: "plain", strength: 0.08, dash: [4, 3] },
  disk: { fill: "hatch", strength: 0.4, dash: [4, 3] },
  dropped: { fill: "none", strength: 0, dash: [1, 3] },
};

export class Painter {
  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Theme} theme
   */
  constructor(context, theme) {
    this.context = context;
    this.theme = theme;
    /** @type {Map<string, Map<string, number>>} */
    this.widths = new Map(); // of texts, by font
    this.font = "";
  }

  /**
   * @param {Cells} cells
   * @param {Sight} sight
   */
  paint(cells, sight) {
    const { context, theme } = this;
    const { scale, left, width, height } = sight;
    const first = Math.max(0, Math.floor((left - xOf(scale, 0)) / scale.width));
    const range = { first, end: first + Math.ceil(width / scale.width) + 2 };
    context.clearRect(0, 0, width, height);
    context.save();
    context.beginPath();
    context.rect(0, AXIS, width, height - AXIS);
    context.clip();
    context.translate(-left, -sight.top);
    const strips = cells.strips.filter((strip) => {
      const y = yOf(scale, strip.lane) - sight.top;
      return strip.start < range.end && strip.stop > range.first &&
        y < height && y > -scale.pitch;
    });
    this.paintFree(cells, sight, range);
    this.paintCells(strips, sight, range);
    if (scale.areRead) {
      for (const strip of strips) this.write(strip, scale, range);
    }
    this.paintAgain(strips, sight, range);
    this.paintPath(cells, sight, range);
    this.mark(sight.hovered, scale, theme.colours.muted, 1.5);
    this.mark(sight.cursor, scale, theme.colours.ink, 2);
    context.restore();
    this.paintAxis(sight, range, cells.nCtx);
  }

  /**
   * The cells that nothing is in, behind the end of the active path.
   *
   * @param {Cells} cells
   * @param {Sight} sight
   * @param {{ first: number, end: number }} range
   */
  paintFree({ nCtx, end, freeFrom }, { scale }, range) {
    const { context, theme } = this;
    const from = Math.max(freeFrom, range.first), to = Math.min(nCtx, range.end);
    if (from >= to) return;
    const path = new Path2D();
    if (isOutlined(scale)) addBoxes(path, scale, end?.strip.lane ?? 0, from, to);
    else addBox(path, scale, end?.strip.lane ?? 0, from, to);
    context.setLineDash([]);
    context.lineWidth = 1;
    context.strokeStyle = theme.colours.line;
    context.stroke(path);
    if (scale.height < 34) return;
    context.fillStyle = theme.colours.muted;
    this.setFont(9);
    const y = yOf(scale, end?.strip.lane ?? 0) + scale.height - 4;
    for (let i = from; i < to; i++) context.fillText(String(i), xOf(scale, i) + 4, y);
  }

  /**
   * @param {Strip[]} strips
   * @param {Sight} sight
   * @param {{ first: number, end: number }} range
   */
  paintCells(strips, { scale }, range) {
    /** @type {Map<string, { boxes: Path2D, outlines: Path2D }>} */
    const paths = new Map(); // by looks: the fewer strokes, the faster
    for (const strip of strips) {
      for (const { from, to, role, place } of strip.runs()) {
        const first = Math.max(from, range.first), end = Math.min(to, range.end);
        if (first >= end) continue;
        const looks = `${kindOf(role)} ${place}`;
        const path = paths.get(looks) ?? { boxes: new Path2D(), outlines: new Path2D() };
        paths.set(looks, path);
        addBoxes(path.boxes, scale, strip.lane, first, end);
        if (!isOutlined(scale)) addBox(path.outlines, scale, strip.lane, first, end);
      }
    }
    for (const [looks, { boxes, outlines }] of paths) {
      const [role, place] = looks.split(" ");
      this.fill(boxes, role, place, scale);
      if (isOutlined(scale)) this.outline(boxes, role, place, scale);
      else if (place !== "context") this.outline(outlines, role, place, scale);
    }
  }

  /**
   * @param {Path2D} path
   * @param {string} role
   * @param {string} place
   * @param {Scale} scale
   */
  fill(path, role, place, scale) {
    const { context, theme } = this;
    const { fill, strength } = looksOf(place);
    if (fill === "none") return;
    context.globalAlpha = isOutlined(scale) || fill === "hatch" ? strength : 2.7 * strength;
    context.fillStyle = fill === "hatch" ? theme.hatch(role) : theme.colours[role];
    context.fill(path);
    context.globalAlpha = 1;
  }

  /**
   * @param {Path2D} path
   * @param {string} role
   * @param {string} place
   * @param {Scale} scale
   */
  outline(path, role, place, { areRead }) {
    const { context, theme } = this;
    const { dash } = looksOf(place);
    context.setLineDash(dash);
    context.lineWidth = areRead && !dash.length ? 1.5 : 1;
    context.strokeStyle = theme.colours[place === "dropped" ? "muted" : role];
    context.stroke(path);
  }

  /**
   * A line above the cells that were evaluated again.
   *
   * @param {Strip[]} strips
   * @param {Sight} sight
   * @param {{ first: number, end: number }} range
   */
  paintAgain(strips, { scale }, range) {
    const { context, theme } = this;
    context.fillStyle = theme.colours.again;
    for (const strip of strips) {
      for (const { from, to } of strip.again) {
        const first = Math.max(from, range.first), end = Math.min(to, range.end);
        if (first >= end) continue;
        const width = Math.max((end - first) * scale.width - 2, 0.5);
        context.fillRect(xOf(scale, first), yOf(scale, strip.lane) - 2, width, 3);
      }
    }
  }

  /**
   * The texts of a strip's cells, and their positions where there is room.
   *
   * @param {Strip} strip
   * @param {Scale} scale
   * @param {{ first: number, end: number }} range
   */
  write(strip, scale, range) {
    const { context, theme } = this;
    const first = Math.max(strip.start, range.first), end = Math.min(strip.stop, range.end);
    const isTall = scale.height >= 34;
    const y = yOf(scale, strip.lane);
    this.setFont(scale.width >= 60 ? 12 : scale.width >= 34 ? 11 : 10);
    for (let i = first; i < end; i++) {
      const cell = strip.at(i);
      const text = this.shorten(signs(cell.text), scale.width - 5);
      context.fillStyle = cell.place === "dropped" ? theme.colours.muted : theme.colours.ink;
      const middle = xOf(scale, i) + (scale.width - 1 - this.measure(text)) / 2;
      context.fillText(text, middle, y + (isTall ? 16 : scale.height / 2 + 4));
    }
    if (!isTall) return;
    context.fillStyle = theme.colours.muted;
    this.setFont(9);
    for (let i = first; i < end; i++) {
      context.fillText(String(i), xOf(scale, i) + 4, y + scale.height - 4);
    }
  }

  /**
   * The way to the head in the theme's colour, and lines from each fork to what begins there.
   *
   * @param {Cells} cells
   * @param {Sight} sight
   * @param {{ first: number, end: number }} range
   */
  paintPath({ strips }, { scale }, range) {
    const { context, theme } = this;
    const thick = scale.width < 12 ? 2 : 3;
    context.setLineDash([]);
    for (const isActive of [false, true]) { // the active path lies above the others
      const path = new Path2D();
      for (const strip of strips) {
        if (strip.isActive !== isActive || strip.start > range.end) continue;
        const { parent } = strip;
        const x = xOf(scale, strip.start) - 1;
        if (parent && parent.lane !== strip.lane && strip.start >= range.first) {
          path.moveTo(x, yOf(scale, parent.lane) + scale.height + thick / 2);
          path.lineTo(x, yOf(scale, strip.lane) + scale.height + (isActive ? thick / 2 : 0));
        }
        if (!isActive) continue;
        const y = yOf(scale, strip.lane) + scale.height + thick / 2 + 0.5;
        path.moveTo(Math.max(x, xOf(scale, range.first) - 1), y);
        path.lineTo(xOf(scale, Math.min(strip.activeStop, range.end)) - 1, y);
      }
      context.strokeStyle = isActive ? theme.colours.brand : theme.colours.muted;
      context.lineWidth = isActive ? thick : 1;
      context.stroke(path);
    }
  }

  /**
   * @param {Spot | null} spot
   * @param {Scale} scale
   * @param {string} colour
   * @param {number} thick
   */
  mark(spot, scale, colour, thick) {
    if (!spot) return;
    const { context } = this;
    context.setLineDash([]);
    context.strokeStyle = colour;
    context.lineWidth = thick;
    const x = xOf(scale, spot.position), y = yOf(scale, spot.strip.lane);
    context.strokeRect(x - 1, y - 1, Math.max(scale.width, 4) + 1, scale.height + 2);
  }

  /**
   * @param {Sight} sight
   * @param {{ first: number, end: number }} range
   * @param {number} nCtx
   */
  paintAxis({ scale, left }, range, nCtx) {
    const { context, theme } = this;
    const step = tickStep(scale.width);
    context.fillStyle = theme.colours.muted;
    context.strokeStyle = theme.colours.line;
    context.lineWidth = 1;
    context.setLineDash([]);
    this.setFont(10);
    context.beginPath();
    for (
      let i = Math.floor(range.first / step) * step;
      i < range.end && i <= nCtx;
      i += step
    ) {
      const x = Math.round(xOf(scale, i) - left) + 0.5;
      context.moveTo(x, 2);
      context.lineTo(x, AXIS - 4);
      context.fillText(count(i), x + 3, AXIS - 7);
    }
    context.stroke();
  }

  /** @param {number} pixels */
  setFont(pixels) {
    const font = `${pixels}px ${this.theme.font}`;
    this.font = this.context.font = font;
  }

  /** @param {string} text */
  measure(text) {
    const widths = this.widths.get(this.font) ?? new Map();
    if (!widths.size) this.widths.set(this.font, widths);
    if (!widths.has(text)) widths.set(text, this.context.measureText(text).width);
    return widths.get(text);
  }

  /**
   * As much of a text as there is room for.
   *
   * @param {string} text
   * @param {number} room pixels
   */
  shorten(text, room) {
    if (text.length < 3 || (text.length < 200 && this.measure(text) <= room)) return text;
    const characters = [...text.slice(0, 200)];
    let n = characters.length;
    while (n > 1 && this.measure(`${characters.slice(0, n).join("")}…`) > room) n--;
    return `${characters.slice(0, n).join("")}…`;
  }
}

/** How a place looks. @param {string} place */
function looksOf(place) {
  return LOOKS[/** @type {keyof typeof LOOKS} */ (place)] ?? LOOKS.dropped;
}

/** Whether each cell has an outline of its own. @param {Scale} scale */
function isOutlined({ width }) {
  return width >= 12;
}

/**
 * A box for each cell, or one for them all where they are too narrow.
 *
 * @param {Path2D} path
 * @param {Scale} scale
 * @param {number} lane
 * @param {number} from
 * @param {number} to
 */
function addBoxes(path, scale, lane, from, to) {
  if (!scale.areApart) return addBox(path, scale, lane, from, to);
  const y = yOf(scale, lane) + 0.5, height = scale.height - 1;
  const width = scale.width - (isOutlined(scale) ? 3 : 1);
  for (let i = from; i < to; i++) path.rect(xOf(scale, i) + 0.5, y, width, height);
}

/**
 * One box around several cells.
 *
 * @param {Path2D} path
 * @param {Scale} scale
 * @param {number} lane
 * @param {number} from
 * @param {number} to
 */
function addBox(path, scale, lane, from, to) {
  const width = Math.max((to - from) * scale.width - 1, 0.5);
  path.rect(xOf(scale, from) + 0.5, yOf(scale, lane) + 0.5, width, scale.height - 1);
}

/**
 * The context's cells at a glance: who said what is in them, and where the view is.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Theme} theme
 * @param {Cells} cells
 * @param {number} width pixels
 * @param {number} height
 * @param {[from: number, to: number]} seen positions
 */
export function paintGauge(context, theme, cells, width, height, seen) {
  const { colours } = theme;
  const scale = width / Math.max(cells.nCtx, cells.extent, 1);
  context.clearRect(0, 0, width, height);
  context.fillStyle = colours.line;
  context.globalAlpha = 0.5;
  context.fillRect(0, 2, cells.nCtx * scale, height - 4);
  context.globalAlpha = 1;
  for (const strip of cells.strips) {
    if (!strip.isActive) continue;
    for (const { from, to, role, place } of strip.runs()) {
      if (place !== "context") continue;
      context.fillStyle = colours[kindOf(role)];
      context.fillRect(from * scale, 2, Math.max((to - from) * scale, 0.5), height - 4);
    }
  }
  context.strokeStyle = colours.ink;
  context.lineWidth = 1;
  const left = Math.max(0, seen[0] * scale), right = Math.min(width, seen[1] * scale);
  context.strokeRect(left + 0.5, 0.5, Math.max(right - left - 1, 3), height - 1);
}
