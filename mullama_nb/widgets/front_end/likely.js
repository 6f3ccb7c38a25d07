// @ts-check
// What the model could say next: a tree of likely tokens, of which each can be gone on from.

import { define } from "./define.js";
import { button, element } from "./dom.js";
import { plural } from "./format.js";
import { send, stop } from "./kernel.js";
import { makeReach, percentage } from "./likely_reach.js";
import { LikelyTree } from "./likely_tree.js";

/** @import { ChatTraits, Model } from "./kernel.js" */
/** @import { Reach } from "./likely_reach.js" */
/** @import { Sent, Tree } from "./likely_tree.js" */

/**
 * Where the chat is, and whether it answers.
 *
 * @typedef {object} Place
 * @property {string} here
 * @property {boolean} follows whether the tree is worked out anew as the chat moves on
 * @property {boolean} is_answering
 */

/**
 * What the tree was worked out for.
 *
 * @typedef {object} Look
 * @property {number} key
 * @property {string} at what `here` was then; empty before the first time
 * @property {boolean} is_there whether there is a tree, if only an empty one
 * @property {string} before the end of the text in front of it
 * @property {number} evaluated tokens
 * @property {number} omitted tokens that are too unlikely to be shown
 */

/** @typedef {Place & Look & Reach & { columns: number[], tokens: Sent[] }} Snapshot */
/** @typedef {Place & Look & Reach & Tree} State */

/** @type {Snapshot} */
const NOTHING = {
  here: "",
  follows: true,
  is_answering: false,
  key: 0,
  at: "",
  is_there: false,
  before: "",
  depth: 4,
  min_p: 0.05,
  width: 6,
  evaluated: 0,
  omitted: 0,
  columns: [],
  tokens: [],
};

/** @param {Partial<Snapshot>} snapshot @returns {State} */
export function start(snapshot) {
  return { ...NOTHING, ...snapshot };
}

/**
 * @param {State} state
 * @param {Partial<Snapshot>} change
 * @returns {State}
 */
export function apply(state, change) {
  return { ...state, ...change };
}

/**
 * @param {HTMLElement} body
 * @param {{ model: Model<ChatTraits>, state: () => State }} scope
 */
function draw(body, { model, state }) {
  const reach = makeReach((wanted) => send(model, "reach", { ...wanted }));
  const live = button("Live", "Look again when the chat has moved on and is quiet", () => {
    send(model, "live", { on: !state().follows });
  });
  const note = element("span", { class: "mullama-likely-note", role: "status" });
  const halt = button("Stop", "Stop looking ahead", () => stop(model));
  const parts = [reach.node, reach.go, halt, live, note];
  const bar = element("div", { class: "mullama-likely-bar" }, parts);
  const before = element("div", { class: "mullama-likely-before" });
  const tree = new LikelyTree((token) => send(model, "follow", { key: state().key, token }));
  const empty = element("p", { class: "mullama-likely-empty" });
  const said = element("div", { class: "mullama-likely-said" });
  tree.onChoice = (words) => said.replaceChildren(...words);
  body.classList.add("mullama-likely");
  body.append(bar, before, tree.node, empty, said);

  function fit() {
    const now = state();
    const isBusy = model.get("is_busy");
    const isOld = now.at !== now.here;
    reach.go.hidden = isBusy;
    reach.go.disabled = now.is_answering;
    halt.hidden = !isBusy;
    live.setAttribute("aria-pressed", String(now.follows));
    note.textContent = noteOn(now, isBusy, isOld);
    body.classList.toggle("old", isOld || isBusy);
    tree.node.setAttribute("aria-busy", String(isBusy));
    empty.textContent = emptyAs(now, isBusy);
    empty.hidden = now.tokens.length > 0;
    said.hidden = before.hidden = !now.tokens.length;
  }
  /** @param {Partial<Snapshot> | null} change */
  function update(change) {
    const now = state();
    if (!change || change.tokens) {
      before.replaceChildren(element("bdi", {}, now.before));
      reach.show(now);
      tree.show(now);
    }
    fit();
  }
  model.on("change:is_busy", fit);
  return {
    update,
    destroy() {
      tree.destroy();
      model.off("change:is_busy", fit);
    },
  };
}

/**
 * @param {State} state
 * @param {boolean} isBusy
 * @param {boolean} isOld
 */
function noteOn({ is_answering, follows, is_there, evaluated, omitted }, isBusy, isOld) {
  if (isBusy) return "Looking ahead …";
  if (is_answering) return "The chat is answering.";
  if (isOld && is_there) {
    return follows ? "The chat has moved on …" : "The chat has moved on.";
  }
  if (!is_there) return "";
  const less = omitted ? `, ${omitted} less likely not shown` : "";
  return `${plural(evaluated, "token")} evaluated${less}`;
}

/**
 * What stands in the place of a tree that has no tokens.
 *
 * @param {State} state
 * @param {boolean} isBusy
 */
function emptyAs({ here, is_there, min_p }, isBusy) {
  if (is_there) return `No token has a probability of ${percentage(min_p)} % or more.`;
  if (!here) return "Nothing has been said yet.";
  return isBusy ? "" : "Look to see what may come next.";
}

export default define({ start, apply, draw });
