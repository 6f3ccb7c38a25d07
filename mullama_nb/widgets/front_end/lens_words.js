// @ts-check
// What a lens shows, in words.

import { element } from "./dom.js";
import { percent } from "./format.js";

/** @import { State, Weights } from "./lens.js" */

const MOST = 5;

/**
 * A token's text by itself, where spaces are signs, too.
 *
 * @param {string} piece
 */
export function byItself(piece) {
  return piece.replaceAll(" ", "␣");
}

/**
 * A token with its position.
 *
 * @param {string[]} pieces
 * @param {number} at
 */
export function name(pieces, at) {
  return `token ${at} “${byItself(pieces[at])}”`;
}

/**
 * The tokens that got most of the attention, the first one most.
 *
 * @param {Float32Array} shares
 * @param {number} n
 */
export function most(shares, n) {
  const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a] || a - b);
  return order.slice(0, n).filter((at) => shares[at] > 0);
}

/**
 * What a token got, in words; empty where nothing can be said.
 *
 * @param {State} state
 * @param {number} at
 */
export function shareInWords({ weights, look }, at) {
  if (!weights || !look || at > look.position) return "";
  return weights.left_out.includes(at) ? "left out" : percent(weights.shares[at]);
}

/**
 * @param {State} state
 * @param {boolean} failed whether the last look did
 * @returns {(string | HTMLElement)[]}
 */
export function describe({ pieces, live, chosen, stale, look, weights }, failed) {
  if (chosen === null) return ["Nothing has been said yet."];
  const waits = live ? "It looks again when the answer is whole." : "Looking …";
  const end = stale && !failed ? [element("span", { class: "waits" }, waits)] : [];
  if (!look) return end;
  const named = name(pieces, look.position);
  const said = element("span", {}, named.charAt(0).toUpperCase() + named.slice(1));
  const none = "This model has no attention: its layers carry a state from token to token.";
  const more = weights ? describeWeights(pieces, weights) : [element("span", {}, none)];
  return [said, ...more, ...end];
}

/**
 * @param {string[]} pieces
 * @param {Weights} weights
 */
function describeWeights(pieces, { shares, left_out, left_out_share }) {
  const best = most(shares, MOST).map((at) => {
    const piece = element("code", {}, byItself(pieces[at]));
    return element("span", {}, piece, ` ${percent(shares[at])}`);
  });
  const looked = element("span", {}, best.length ? "looked most at" : "looked at nothing else.");
  const said = [looked, ...best];
  if (!left_out.length) return said;
  const names = left_out.map((at) => name(pieces, at)).join(" and ");
  const took = percent(left_out_share);
  const left = `Left out: ${names}, which took ${took}; the rest counts as 100 %.`;
  return [...said, element("span", { class: "left-out" }, left)];
}
