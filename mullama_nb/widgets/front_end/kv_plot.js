// @ts-check
// What the active path keeps in memory, one bar a checkpoint, and the context's cells in use.

import { define } from "./define.js";
import { element, shape } from "./dom.js";
import { activeElement } from "./focus.js";
import { count, plural, size } from "./format.js";
import { send } from "./kernel.js";
import { drawBars, drawGauge, GAUGE, HEIGHT } from "./kv_bars.js";

/** @import { Model, TreeTraits } from "./kernel.js" */
/** @import { SentStep, State, Step } from "./kv_bars.js" */

/**
 * The sums, and the last checkpoints of the path.
 *
 * @typedef {Omit<State, "live" | "steps"> & { steps: SentStep[] }} Snapshot
 */

/**
 * Everything anew, or how many tokens an answer has grown by.
 *
 * @typedef {{ all?: Snapshot, live?: number }} Change
 */

/** @type {Snapshot} */
const NOTHING = {
  omitted: 0,
  steps: [],
  tokens: 0,
  shared_tokens: 0,
  cells: 1,
  kept: 0,
  snapshots: 0,
  all_kept: 0,
  all_snapshots: 0,
  per_token: 0,
};

/** @param {SentStep} sent @returns {Step} */
function readStep([id, name, label, tokens, bytes, before, isShared]) {
  return { id, name, label, tokens, bytes, before, isShared: isShared !== 0 };
}

/** @param {Partial<Snapshot>} snapshot @returns {State} */
export function start(snapshot) {
  const { steps, ...sums } = { ...NOTHING, ...snapshot };
  return { ...sums, steps: steps.map(readStep), live: 0 };
}

/**
 * @param {State} state
 * @param {Change} change
 */
export function apply(state, change) {
  if (change.all) return start(change.all);
  return { ...state, live: state.live + (change.live ?? 0) };
}

/**
 * @param {HTMLElement} body
 * @param {{ model: Model<TreeTraits>, state: () => State }} scope
 */
function draw(body, { model, state }) {
  /** @type {number | null} */
  let chosen = null; // counted from the path's beginning; null: the head
  const sums = element("div", { class: "sums" });
  const said = element("div", { class: "said", "aria-live": "polite" });
  const label = "KV bytes of each checkpoint on the active path";
  const named = { "aria-label": label, "aria-orientation": "horizontal" };
  const svg = shape("svg", { height: HEIGHT, role: "listbox", ...named });
  const keys = makeKeys();
  const go = (/** @type {number} */ index) => {
    const step = state().steps[index];
    if (step) send(model, "checkout", { checkpoint: step.id });
  };
  const plot = element("div", { class: "mullama-kv" }, sums, svg, said, keys.node);
  body.append(plot);
  svg.addEventListener("keydown", move);
  svg.addEventListener("pointerleave", () => choose(null));

  function at() {
    const { steps, omitted } = state();
    const last = steps.length - 1;
    return chosen === null ? last : Math.min(Math.max(chosen - omitted, 0), last);
  }
  /**
   * @param {number | null} index
   * @param {boolean} [focus]
   */
  function choose(index, focus = false) {
    chosen = index === null ? null : index + state().omitted;
    const now = at();
    /** @type {NodeListOf<SVGElement>} */
    const bars = svg.querySelectorAll('[role="option"]');
    bars.forEach((bar, i) => {
      bar.classList.toggle("chosen", i === now && chosen !== null);
      bar.setAttribute("tabindex", i === now ? "0" : "-1");
      bar.setAttribute("aria-selected", i === now ? "true" : "false");
      if (focus && i === now) bar.focus();
    });
    said.replaceChildren(...describe(state(), now));
  }
  /** @param {KeyboardEvent} event */
  function move(event) {
    const last = state().steps.length - 1;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      event.stopPropagation();
      return go(at());
    }
    /** @type {Record<string, number>} */
    const places = { ArrowRight: at() + 1, ArrowLeft: at() - 1, Home: 0, End: last };
    const to = places[event.key];
    if (to === undefined || last < 0) return;
    choose(Math.max(0, Math.min(last, to)), true);
    event.preventDefault();
    event.stopPropagation();
  }
  function paint() {
    const now = state();
    const room = plot.clientWidth - 24;
    if (room <= 0) return;
    sums.replaceChildren(...drawSums(now));
    keys.update(now);
    const had = svg.contains(activeElement(svg));
    const isEmpty = !now.steps.length && !now.live;
    svg.replaceChildren(...drawGauge(now, room));
    svg.setAttribute("width", String(room));
    svg.setAttribute("height", String(isEmpty ? GAUGE : HEIGHT));
    if (!isEmpty) svg.append(...drawBars(now, room, choose, go));
    choose(chosen === null ? null : at(), had);
  }
  const observer = new ResizeObserver(paint);
  observer.observe(plot);
  return { update: paint, destroy: () => observer.disconnect() };
}

/** What the colours mean, and how much of the path there is. */
function makeKeys() {
  const key = (/** @type {string} */ kind, /** @type {string} */ words) =>
    element("span", {}, element("i", { class: kind }), words);
  const last = element("span", { class: "last" });
  const node = element(
    "div",
    { class: "keys" },
    key("own", "kept, on this branch only"),
    key("shared", "kept, shared by branches"),
    key("before", "a full snapshot would hold again"),
    element("span", {}, "S system · Q questions · A answers"),
    last,
  );
  return {
    node,
    /** @param {State} state */
    update({ steps, omitted }) {
      const all = count(steps.length + omitted);
      node.hidden = !steps.length;
      last.textContent = omitted ? `last ${steps.length} of ${all} checkpoints` : "";
    },
  };
}

/** @param {State} state */
function drawSums({ kept, snapshots, all_kept, tokens, cells, live, per_token }) {
  const sum = (/** @type {number} */ bytes, /** @type {string} */ words) =>
    element("span", {}, element("strong", {}, size(bytes)), ` ${words}`);
  const growing = live * per_token;
  const used = `${count(tokens + live)} of ${count(cells)} tokens`;
  return [
    sum(kept + growing, "on this path"),
    sum(snapshots, "as full snapshots"),
    sum(all_kept + growing, "whole tree"),
    element("span", { class: "cells" }, used),
  ];
}

/**
 * One checkpoint in words.
 *
 * @param {State} state
 * @param {number} index
 */
function describe({ steps }, index) {
  const step = steps[index];
  if (!step) return ["Nothing has been said yet."];
  const words = [
    plural(step.tokens, "token"),
    `keeps ${size(step.bytes)}`,
    step.before ? `full snapshot ${size(step.bytes + step.before)}` : "",
    step.isShared ? "shared" : "",
  ];
  return [
    element("strong", {}, step.name),
    element("span", { class: "label" }, step.label),
    ...words.filter(Boolean).map((word) => element("span", {}, word)),
  ];
}

export default define({ start, apply, draw });
