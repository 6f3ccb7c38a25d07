// @ts-check
// Around the sheet: figures and buttons, the context at a glance, a cell and a move in words.

import { paintGauge } from "./cell_canvas.js";
import { LEFT } from "./cell_place.js";
import { kindOf } from "./cell_theme.js";
import { describe, speaker } from "./cell_words.js";
import { button, element } from "./dom.js";
import { count, plural, size } from "./format.js";

/** @import { Sheet } from "./cell_sheet.js" */
/** @import { Spot } from "./cell_strip.js" */
/** @import { Cells } from "./cell_strips.js" */
/** @import { Theme } from "./cell_theme.js" */

/**
 * Figures, and buttons for the zoom.
 *
 * @param {() => Sheet} sheet
 * @param {...HTMLElement} actions
 */
export function makeBar(sheet, ...actions) {
  const used = element("strong"), others = element("span");
  const figures = element("span", {}, used, others);
  const cost = element("span", { class: "cost", "aria-live": "polite" });
  const tools = element(
    "span",
    { class: "tools", role: "toolbar", "aria-label": "Cells" },
    ...actions,
    button("−", "Zoom out", () => sheet().zoom(-1)),
    button("+", "Zoom in", () => sheet().zoom(1)),
    button("Fit", "Zoom to fit", () => sheet().fit()),
  );
  return {
    node: element("div", { class: "bar" }, figures, cost, tools),
    /** @param {Cells} cells */
    update({ nCtx, nUsed, nLanes, memory, window, cost: last }) {
      const words = last ? inWords(last) : "";
      if (cost.textContent !== words) cost.textContent = words; // else it is read aloud again
      const isFull = nUsed >= nCtx;
      const what = memory === "state" ? "tokens, read into one state" : "cells";
      const branches = nLanes > 1 ? `, ${count(nLanes)} branches` : "";
      used.textContent = count(nUsed);
      used.classList.toggle("full", isFull);
      others.textContent = ` of ${count(nCtx)} ${what}${isFull ? ", full" : ""}${branches}`;
      figures.title = HOW_KEPT[memory](window);
    },
  };
}

/** How the model keeps what it has read. */
const HOW_KEPT = {
  cells: () => "A cell holds the keys and values of one token, for every layer",
  window: (/** @type {number} */ n) =>
    `A cell holds the keys and values of one token; some layers read the last ${count(n)} alone`,
  state: () => "One state of fixed size stands for all tokens: it has no cells",
  hybrid: () => "Some layers have cells, others one state of fixed size",
};

/**
 * All cells of the context in one line, and which of them the sheet shows.
 *
 * @param {() => Sheet} sheet
 * @param {() => Cells} state
 * @param {Theme} theme
 */
export function makeGauge(sheet, state, theme) {
  /** @param {PointerEvent} event */
  function go(event) {
    if (event.type === "pointermove" && !event.buttons) return;
    const cells = state(), { node, scale } = sheet();
    const share = event.offsetX / Math.max(canvas.clientWidth, 1);
    const position = share * Math.max(cells.nCtx, cells.extent);
    node.scrollLeft = LEFT + position * scale.width - node.clientWidth / 2;
  }
  const canvas = element("canvas", {
    class: "mullama-cells-gauge",
    "aria-hidden": "true",
    onpointerdown: go,
    onpointermove: go,
  });
  return {
    node: canvas,
    paint() {
      const ratio = globalThis.devicePixelRatio || 1;
      const width = canvas.clientWidth, height = canvas.clientHeight;
      const context = canvas.getContext("2d");
      if (!context || !width) return;
      if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
      if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      paintGauge(context, theme, state(), width, height, sheet().seen);
    },
  };
}

/** One cell in words: that below the pointer, or the cursor's. */
export function makeSaid() {
  const node = element("div", { class: "said", "aria-live": "off" });
  return {
    node,
    /** Have it read aloud, which nobody wants of each token that comes. @param {boolean} isOn */
    read: (isOn) => node.setAttribute("aria-live", isOn ? "polite" : "off"),
    /** @param {Spot | null} spot */
    show(spot) {
      if (!spot) return node.replaceChildren("Nothing has been said yet: all cells are free.");
      const { token, facts } = describe(spot.strip.at(spot.position));
      node.replaceChildren(
        element("span", { class: "token" }, token),
        ...facts.map((fact) => element("span", {}, fact)),
      );
    },
  };
}

/**
 * What the last move cost.
 *
 * @typedef {{ evaluated: number, bytes: number, seconds: number }} Cost
 */

/** @param {Cost} cost */
function inWords({ evaluated, bytes, seconds }) {
  return `${plural(evaluated, "token")} evaluated, ${size(bytes)} put back, ${duration(seconds)}`;
}

/** @param {number} seconds */
function duration(seconds) {
  if (seconds >= 1) return `${seconds.toFixed(1)} s`;
  const ms = 1000 * seconds;
  return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

/** What colours and lines mean. */
export function makeKeys() {
  const node = element("div", { class: "keys" });
  let shown = "none yet";
  const key = (
    /** @type {string} */ kind,
    /** @type {string} */ words,
    /** @type {string} */ style = "",
  ) => element("span", {}, element("i", { class: kind, style }), words);
  return {
    node,
    /** @param {Cells} cells */
    update({ roles, places, hasAgain }) {
      const now = [...roles, ...places, hasAgain].join();
      if (now === shown) return;
      shown = now;
      node.replaceChildren(
        ...[...roles].map((role) => key("", speaker(role), `--c: var(--m-${kindOf(role)})`)),
        key("path", "the active path"),
        ...[
          ["context", "in the context"],
          ["memory", "kept in memory"],
          ["disk", "on disk"],
          ["dropped", "dropped"],
        ].filter(([place]) => places.has(place)).map(([place, words]) => key(place, words)),
        ...(hasAgain ? [key("again", "evaluated again")] : []),
      );
    },
  };
}
