// @ts-check
// What tests ask of the cell map's scripts.

import { Painter } from "../../mullama_nb/widgets/front_end/cell_canvas.js";
import { goTo } from "../../mullama_nb/widgets/front_end/cell_keys.js";
import { placeAt, scaleAt, xOf, yOf } from "../../mullama_nb/widgets/front_end/cell_place.js";
import { Cells } from "../../mullama_nb/widgets/front_end/cell_strips.js";
import { describe, signs } from "../../mullama_nb/widgets/front_end/cell_words.js";

export { signs };

/** @import { Spot, Strip } from "../../mullama_nb/widgets/front_end/cell_strip.js" */

/**
 * Messages as a page gets them: arrays have come as base64, and lie anywhere in a buffer.
 *
 * @param {Record<string, any>} message
 */
function received(message) {
  const entries = Object.entries(message).map(([name, value]) => {
    if (typeof value?.base64 !== "string") return [name, value];
    const bytes = Uint8Array.from(atob(value.base64), (c) => c.charCodeAt(0));
    const buffer = new Uint8Array(bytes.length + 3);
    buffer.set(bytes, 3);
    return [name, new DataView(buffer.buffer, 3)];
  });
  return Object.fromEntries(entries);
}

/** @param {Record<string, any>[]} messages */
function cellsAfter(messages) {
  const cells = new Cells();
  for (const message of messages) {
    if (!cells.apply(received(message))) throw new Error("a message does not fit");
  }
  return cells;
}

/** @param {Strip} strip */
function told(strip) {
  const { id, start, lane, nActive, parent } = strip;
  const cells = strip.tokens.map((_, i) => {
    const { position, text, role, place, probability, bytes } = strip.at(start + i);
    return [position, text, role, place, probability, bytes];
  });
  const checkpoints = strip.checkpoints.map(({ id, stop }) => [id, stop]);
  const again = strip.again.map(({ from, to }) => [from, to]);
  return { id, parent: parent?.id ?? null, start, lane, nActive, cells, checkpoints, again };
}

/** The strips after each of some messages. @param {Record<string, any>[]} messages */
export function stripsAfter(messages) {
  return messages.map((_, n) => cellsAfter(messages.slice(0, n + 1)).strips.map(told));
}

/**
 * What is said of the cell of the active path at a position.
 *
 * @param {Record<string, any>[]} messages
 * @param {number} position
 */
export function wordsAfter(messages, position) {
  const strip = cellsAfter(messages).strips.find((each) =>
    each.isActive && each.start <= position && position < each.stop
  );
  return strip ? describe(strip.at(position)).facts : [];
}

/** Sums after some messages. @param {Record<string, any>[]} messages */
export function sumsAfter(messages) {
  const { nCtx, nUsed, nLanes, extent, end, freeFrom } = cellsAfter(messages);
  return { nCtx, nUsed, nLanes, extent, end: end && end.position, freeFrom };
}

/**
 * Where keys lead, as lane and position: from the end of the path, and from there on.
 *
 * @param {Record<string, any>} message
 * @param {string[]} keys
 */
export function walk(message, keys) {
  const cells = cellsAfter([message]);
  let spot = /** @type {Spot} */ (cells.end);
  return keys.map((key) => {
    const next = goTo(cells, spot, key);
    if (!next) return null;
    spot = next;
    const { strip, position } = spot;
    if (position < strip.start || position >= strip.stop) throw new Error(`no cell at ${position}`);
    return [strip.lane, position];
  });
}

/** Whether what lies at a place is found there, at each zoom. @param {number[][]} places */
export function placesFound(places) {
  return Array.from({ length: 13 }, (_, level) => scaleAt(level, level)).every((scale) =>
    places.every(([position, lane]) => {
      const x = xOf(scale, position) + scale.width / 2, y = yOf(scale, lane) + scale.height / 2;
      const found = placeAt(scale, x, y);
      return found.position === position && found.lane === lane;
    })
  );
}

/**
 * What painting some of the cells takes: boxes, texts, fills and strokes.
 *
 * @param {Record<string, any>[]} messages
 * @param {{ level: number, position: number, lane: number, width: number, height: number }} sight
 *   the cell in the corner, and pixels
 */
export function painted(messages, { level, position, lane, width, height }) {
  const cells = cellsAfter(messages);
  const counts = { boxes: 0, texts: 0, strokes: 0 };
  const said = /** @type {string[]} */ ([]);
  Object.assign(globalThis, {
    Path2D: class {
      rect() {
        counts.boxes++;
      }
      moveTo() {}
      lineTo() {}
    },
  });
  const context = new Proxy(/** @type {any} */ ({}), {
    get: (kept, name) =>
      kept[name] ?? ((/** @type {any[]} */ ...args) => {
        if (name === "measureText") return { width: 6 * args[0].length };
        if (name === "fillText") {
          counts.texts++;
          said.push(args[0]);
        }
        if (name === "stroke") counts.strokes++;
      }),
  });
  const theme = /** @type {any} */ ({ colours: {}, font: "monospace", hatch: () => "" });
  const scale = scaleAt(level, cells.nLanes);
  const left = xOf(scale, position), top = yOf(scale, lane);
  const sight = { scale, left, top, width, height, cursor: null, hovered: null };
  new Painter(context, theme).paint(cells, sight);
  return { ...counts, said, scale };
}
