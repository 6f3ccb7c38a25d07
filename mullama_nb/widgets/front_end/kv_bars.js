// @ts-check
// The picture of the KV plot: the context's cells as a gauge, and a bar for each checkpoint.

import { shape } from "./dom.js";
import { plural, size } from "./format.js";

/**
 * A checkpoint of the active path as the kernel sends it.
 *
 * @typedef {[id: string, name: string, label: string, tokens: number, bytes: number,
 *   before: number, isShared: number]} SentStep
 */

/**
 * @typedef {object} Step
 * @property {string} id
 * @property {string} name S, Q1, A1: the same for all checkpoints of a message
 * @property {string} label the beginning of what it says
 * @property {number} tokens
 * @property {number} bytes that it keeps
 * @property {number} before bytes in front of it, which a full snapshot would hold again
 * @property {boolean} isShared whether several branches go through it
 */

/**
 * @typedef {object} State
 * @property {number} omitted checkpoints of the path in front of the steps
 * @property {Step[]} steps
 * @property {number} tokens of the path
 * @property {number} shared_tokens how many of them other branches have, too
 * @property {number} cells of the context
 * @property {number} kept bytes of the path
 * @property {number} snapshots bytes of full snapshots along it
 * @property {number} all_kept bytes of the whole tree
 * @property {number} all_snapshots
 * @property {number} per_token bytes; 0 where they do not follow tokens
 * @property {number} live tokens of the answer that grows
 */

// The same as in kv_plot.py, which draws the picture for readers without a kernel.
export const GAUGE = 8;
export const HEIGHT = 168;
const LETTER = 7;
const TOP = 28, BOTTOM = 148, LEFT = 64, WIDEST = 48;

/**
 * @param {string} kind
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 */
function box(kind, x, y, width, height) {
  return shape("rect", {
    class: kind,
    x,
    y,
    width: Math.max(width, 0),
    height: Math.max(height, 0),
  });
}

/**
 * Round values up to the highest, three or four of them.
 *
 * @param {number} top
 */
export function ticks(top) {
  if (!top) return [0];
  const rough = top / 3.5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  return Array.from({ length: Math.floor(top / step) + 1 }, (_, i) => i * step);
}

/**
 * Which bars have their names written below them, so that no two overlap; the same rule as in
 * `mullama_nb.plots.growth`.
 *
 * @param {string[]} names
 * @param {number} room width of a bar
 * @param {number} letter width of a letter
 */
export function labelled(names, room, letter) {
  const first = names.map((_, i) => i).filter((i) => !i || names[i] !== names[i - 1]);
  const asked = first.filter((i) => names[i].startsWith("Q"));
  const questions = asked.length ? asked : first;
  const fit = (/** @type {number[]} */ chosen) =>
    chosen.slice(1).every((b, i) => {
      const a = chosen[i];
      return (b - a) * room >= letter * ((names[a].length + names[b].length) / 2 + 1);
    });
  if (fit(first)) return first;
  for (let power = 1;; power *= 10) {
    for (const stride of [1, 2, 5]) {
      const chosen = questions.filter((_, i) => i % (stride * power) === 0);
      if (chosen.length < 2 || fit(chosen)) return chosen;
    }
  }
}

/**
 * Which of the context's cells are in use.
 *
 * @param {State} state
 * @param {number} room pixels
 */
export function drawGauge({ steps, tokens, shared_tokens, cells, live }, room) {
  const track = box("track", 0, 0, room, GAUGE);
  track.setAttribute("rx", "2");
  const cell = room / (cells || 1);
  let start = tokens - steps.reduce((sum, step) => sum + step.tokens, 0);
  const parted = Math.min(start, shared_tokens); // of the checkpoints that have no bar
  const drawn = [
    track,
    box("shared", 0, 0, parted * cell, GAUGE),
    box("own", parted * cell, 0, (start - parted) * cell, GAUGE),
  ];
  for (const { tokens, isShared } of steps) {
    const width = tokens * cell;
    const gap = width > 4 ? 1 : 0;
    drawn.push(box(isShared ? "shared" : "own", start * cell, 0, width - gap, GAUGE));
    start += tokens;
  }
  if (live) drawn.push(box("live", start * cell, 0.5, live * cell, GAUGE - 1));
  return drawn;
}

/**
 * A bar for each checkpoint, and one for what grows.
 *
 * @param {State} state
 * @param {number} room pixels
 * @param {(index: number) => void} choose
 * @param {(index: number) => void} go
 */
export function drawBars({ steps, kept, live, per_token }, room, choose, go) {
  const growing = live * per_token;
  const base = per_token ? kept : 0;
  const ends = steps.map((step) => step.bytes + step.before);
  const top = Math.max(growing ? base + growing : 0, ...ends);
  const scale = (BOTTOM - TOP) / (top || 1);
  const n = Math.max(steps.length + (live ? 1 : 0), 1);
  const width = Math.min(WIDEST, (room - LEFT) / n);
  const gap = width > 6 ? 2 : 0.5;
  const x = (/** @type {number} */ i) => LEFT + i * width + gap / 2;
  const drawn = drawAxis(top, scale, room);
  steps.forEach((step, i) => {
    const bar = drawBar(step, x(i), width - gap, scale);
    bar.addEventListener("pointerenter", () => choose(i));
    bar.addEventListener("focus", () => choose(i));
    bar.addEventListener("click", () => go(i));
    drawn.push(bar);
  });
  const names = steps.map(({ name }) => name);
  for (const i of labelled(names, width, LETTER)) {
    const middle = { x: LEFT + (i + 0.5) * width, y: BOTTOM + 14, "text-anchor": "middle" };
    drawn.push(shape("text", { class: "name", ...middle, "aria-hidden": "true" }, names[i]));
  }
  if (growing) {
    const left = x(steps.length), low = base * scale, tall = growing * scale;
    drawn.push(
      box("before", left, BOTTOM - low, width - gap, low),
      box("live", left + 0.5, BOTTOM - low - tall, width - gap - 1, tall),
    );
  }
  return drawn;
}

/**
 * @param {number} top bytes
 * @param {number} scale pixels a byte
 * @param {number} room pixels
 * @returns {SVGElement[]}
 */
function drawAxis(top, scale, room) {
  return ticks(top).flatMap((value) => {
    const y = Math.round(BOTTOM - value * scale) + 0.5;
    return [
      shape("path", { class: "grid", d: `M${LEFT} ${y}H${room}` }),
      shape("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, size(value)),
    ];
  });
}

/**
 * @param {Step} step
 * @param {number} x
 * @param {number} width
 * @param {number} scale
 */
function drawBar({ name: called, label, tokens, bytes, before, isShared }, x, width, scale) {
  const low = before * scale, tall = bytes * scale;
  const name = `${called} ${label}: ${plural(tokens, "token")}, keeps ${size(bytes)}`;
  return shape(
    "g",
    { role: "option", "aria-label": name },
    box("hit", x, TOP - 8, width, BOTTOM - TOP + 8),
    box("before", x, BOTTOM - low, width, low),
    box(isShared ? "shared" : "own", x, BOTTOM - low - tall, width, tall),
  );
}
