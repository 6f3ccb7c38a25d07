// @ts-check
// What a message says: a thought, a text, calls of tools.

import { addCopies } from "./copying.js";
import { element, renew } from "./dom.js";
import { letKeysScrollIn } from "./scrolling.js";
import { makeThought } from "./thought.js";
import { makeCalls } from "./tool_calls.js";

/** @import { Live } from "./live_answer.js" */
/** @import { Call } from "./tool_calls.js" */

/**
 * The parts of a message that is whole.
 *
 * @typedef {object} Said
 * @property {string} [html] its text, rendered and cleaned
 * @property {string} [thought] rendered and cleaned; empty if there is none
 * @property {number} [n_thought] tokens of it; 0 where that is not known
 * @property {Call[]} [calls]
 * @property {string[]} [notes] on how it was said
 */

/** Draw what a message says; what is the same already is left alone. */
export function makeSaid() {
  const thought = makeThought();
  const text = element("div", { class: "mullama-text" });
  const calls = makeCalls();
  const remark = element("div", { class: "mullama-remark" });
  const node = element("div", { class: "mullama-said" }, text, calls.node, remark);
  let html = "";
  /**
   * @param {string} idea
   * @param {number} n
   * @param {boolean} grows
   */
  function think(idea, n, grows) {
    if (!idea && !n) return thought.node.remove();
    if (!thought.node.isConnected) node.prepend(thought.node);
    return thought.update(idea, n, grows);
  }
  /**
   * @param {string} next
   * @param {boolean} isAlone whether nothing else is said
   */
  function write(next, isAlone) {
    if (next !== html) {
      renew(text, next);
      addCopies(text);
      letKeysScrollIn(text);
    }
    html = next;
    text.hidden = !html && !isAlone;
  }
  return {
    node,
    /** @param {Said} said */
    show(
      { html: next = "", thought: idea = "", n_thought: n = 0, calls: called = [], notes = [] },
    ) {
      think(idea, n, false);
      write(next, !idea && !n && !called.length);
      calls.update(called, "");
      remark.textContent = notes.join(" · ");
      remark.hidden = !notes.length;
    },
    /** Show an answer that streams. @param {Live} live */
    stream({ thought: idea, n_thought: n, text: next, calls: written, called }) {
      think(idea, n, !next && !written);
      write(next, false);
      calls.update(called, written);
    },
  };
}
