// @ts-check
// Where a token looked, and what each layer would have said after it.

import { floats } from "./binary.js";
import { define } from "./define.js";
import { element } from "./dom.js";
import { send } from "./kernel.js";
import { makeGuesses } from "./lens_guesses.js";
import { makePickers } from "./lens_pickers.js";
import { makeTokenView } from "./lens_tokens.js";
import { describe } from "./lens_words.js";
import { seen } from "./seen.js";

/** @import { Model, TreeTraits } from "./kernel.js" */

/**
 * One of the likeliest next tokens after some layers.
 *
 * @typedef {[token: number, text: string, probability: number]} Guess
 */

/**
 * What was seen from one token.
 *
 * @typedef {object} Look
 * @property {number} position of the token
 * @property {number[]} layers those that have attention
 * @property {number} n_heads
 * @property {Guess[][]} guesses by the number of layers; none where the model does not allow it
 * @property {number} settles after how many layers the last guess stays the first one
 * @property {string} fault why there are no guesses
 */

/**
 * The layer and head that are shown; null: the mean of all.
 *
 * @typedef {{ layer: number | null, head: number | null, without_sinks: boolean }} Picked
 */

/**
 * What each token up to the chosen one got, and the tokens that are left out.
 *
 * @typedef {{ shares: Float32Array, left_out: number[], left_out_share: number }} Weights
 */

/**
 * @typedef {object} State
 * @property {string[]} pieces the text of each token
 * @property {[start: number, role: string][]} sections where each message begins
 * @property {number} live how many tokens at the end stream
 * @property {number | null} chosen the token that is asked
 * @property {number} stale a number for what there is to look at; 0 if it was seen
 * @property {Look | null} look
 * @property {Picked} picked
 * @property {Weights | null} weights
 */

/**
 * Some of the state anew; of the tokens, `keep` stay.
 *
 * @typedef {Partial<State> & { keep?: number }} Change
 */

/** @type {State} */
const NOTHING = {
  pieces: [],
  sections: [],
  live: 0,
  chosen: null,
  stale: 0,
  look: null,
  picked: { layer: null, head: null, without_sinks: true },
  weights: null,
};

/** @param {any} part */
function read(part) {
  const { number: _number, kind: _kind, buffer_paths: _paths, ...values } = part;
  const { weights } = values;
  if (weights) values.weights = { ...weights, shares: floats(weights.shares) };
  return values;
}

/** @param {Partial<State>} snapshot @returns {State} */
export function start(snapshot) {
  return { ...NOTHING, ...read(snapshot) };
}

/**
 * @param {State} state
 * @param {Change} change
 * @returns {State | null}
 */
export function apply(state, change) {
  const { keep, pieces, ...values } = read(change);
  if (pieces) {
    if (keep > state.pieces.length) return null;
    values.pieces = [...state.pieces.slice(0, keep), ...pieces];
  }
  return { ...state, ...values };
}

/**
 * @param {HTMLElement} body
 * @param {{ model: Model<TreeTraits>, state: () => State }} scope
 */
function draw(body, { model, state }) {
  let asked = 0; // what was asked for last
  const pickers = makePickers((action, args) => send(model, action, args));
  const words = element("div", { class: "words", role: "status" });
  const tokens = makeTokenView((token) => send(model, "choose", { token }));
  const guesses = makeGuesses();
  const parts = element("div", { class: "parts" }, tokens.node, guesses.node);
  const lens = element("div", { class: "mullama-lens" }, pickers.node, words, parts);
  body.append(lens);
  const eye = seen(lens, () => {
    tokens.show();
    ask();
  });

  function ask() {
    const { stale } = state();
    if (!stale || stale === asked || !eye.sees()) return;
    asked = stale;
    send(model, "look");
  }
  function say() {
    words.replaceChildren(...describe(state(), Boolean(model.get("error"))));
  }
  /** @param {Change | null} change */
  function update(change) {
    const now = state();
    pickers.update(now);
    say();
    tokens.update(now, change);
    if (!change || change.look !== undefined) guesses.update(now);
    ask();
  }
  model.on("change:error", say);
  const destroy = () => {
    model.off("change:error", say);
    eye.end();
    tokens.destroy();
  };
  return { update, destroy };
}

export default define({ start, apply, draw });
