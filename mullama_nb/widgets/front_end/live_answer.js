// @ts-check
// An answer as it streams, as the kernel sends it.

/** @import { Call } from "./tool_calls.js" */

/**
 * @typedef {object} Live
 * @property {string} thought as HTML
 * @property {number} n_thought tokens of it
 * @property {string} text as HTML
 * @property {string} calls as the model writes them
 * @property {Call[]} called that are whole
 * @property {boolean} continues whether it goes on with the last message, whose text it begins with
 */

/**
 * All of it, or what it has grown by: a text has a place, behind which everything is replaced.
 *
 * @typedef {object} LiveChange
 * @property {Live} [whole]
 * @property {[at: number, html: string]} [thought]
 * @property {number} [n_thought]
 * @property {[at: number, html: string]} [text]
 * @property {[at: number, text: string]} [calls]
 */

/**
 * @param {Live | null} live
 * @param {LiveChange} change
 * @returns {Live | null} null where the change does not fit
 */
export function grow(live, { whole, thought, n_thought, text, calls }) {
  if (whole || !live) return whole ?? null;
  return {
    ...live,
    thought: replaceEnd(live.thought, thought),
    n_thought: n_thought ?? live.n_thought,
    text: replaceEnd(live.text, text),
    calls: replaceEnd(live.calls, calls),
  };
}

/**
 * A change that is told twice changes nothing the second time.
 *
 * @param {string} html
 * @param {[at: number, html: string]} [change]
 */
function replaceEnd(html, change) {
  return change ? html.slice(0, change[0]) + change[1] : html;
}
