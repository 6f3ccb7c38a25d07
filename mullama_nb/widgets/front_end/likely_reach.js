// @ts-check
// How far the tree of likely tokens is to reach.

import { element, onEnter } from "./dom.js";

/**
 * @typedef {object} Reach
 * @property {number} depth tokens of the longest branch
 * @property {number} min_p the least probability of a token
 * @property {number} width the most continuations of one token
 */

/**
 * Fields for the three, and a button.
 *
 * @param {(reach: Reach) => void} look
 */
export function makeReach(look) {
  const depth = makeField("Depth", "Tokens of the longest branch", { min: 1, max: 64 });
  const least = makeField("Min p", "The least probability of a token, in per cent", {
    min: 0,
    max: 100,
    step: "any",
  });
  const width = makeField("Width", "The most continuations of one token", { min: 1, max: 32 });
  const fields = [depth, least, width];
  const ask = () => {
    const [wrong] = fields.filter(({ input }) => !input.reportValidity());
    if (wrong) return;
    edited.clear();
    const [levels, percent, most] = fields.map(({ input }) => Number(input.value));
    look({ depth: levels, min_p: percent / 100, width: most });
  };
  /** @type {Set<HTMLInputElement>} */
  const edited = new Set(); // what was typed, and not asked for yet
  for (const { input } of fields) {
    onEnter(input, ask);
    input.addEventListener("input", () => edited.add(input));
    input.addEventListener("change", () => edited.has(input) && ask());
  }
  const title = "Work out the tree from where the chat is";
  const main = { type: "button", class: "mullama-main", title, onclick: ask };
  const go = element("button", main, "Look");
  least.node.append("%");
  const node = element("div", {
    class: "mullama-likely-reach",
    role: "group",
    "aria-label": "Reach",
  }, fields.map((field) => field.node));
  return {
    node,
    go,
    /** Show the reach of a tree; what is being typed stays. @param {Reach} reach */
    show(reach) {
      const values = [reach.depth, percentage(reach.min_p), reach.width];
      fields.forEach(({ input }, i) => {
        if (!edited.has(input)) input.value = String(values[i]);
      });
    },
  };
}

/** A probability in per cent, as people type it. @param {number} probability */
export function percentage(probability) {
  return Number((100 * probability).toPrecision(6));
}

/**
 * @param {string} label
 * @param {string} title
 * @param {Record<string, string | number>} limits
 */
function makeField(label, title, limits) {
  const input = element("input", { type: "number", required: true, ...limits });
  const node = element("label", { title }, element("span", {}, label), input);
  return { input, node };
}
