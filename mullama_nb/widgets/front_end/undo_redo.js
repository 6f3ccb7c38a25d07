// @ts-check
// Buttons that take a chat back and forth.

import { define } from "./define.js";
import { button, element } from "./dom.js";
import { send } from "./kernel.js";
import { STEP_KEYS } from "./keys.js";

/** @import { ChatTraits, Model } from "./kernel.js" */

/**
 * How many steps there are each way, and which of its versions the last message is; a snapshot, and
 * each change.
 *
 * @typedef {object} Steps
 * @property {number} undo
 * @property {number} redo
 * @property {string} undoes the beginning of the question that goes next; empty if none does
 * @property {string} redoes the same of what comes back
 * @property {number} sibling counted from 1
 * @property {number} siblings
 * @property {boolean} answered whether there is an answer to give again
 */

/** @type {Steps} */
const NONE = { undo: 0, redo: 0, undoes: "", redoes: "", sibling: 1, siblings: 1, answered: false };

/**
 * @param {HTMLElement} body
 * @param {{ model: Model<ChatTraits>, state: () => Steps }} scope
 */
function draw(body, { model, state }) {
  const undo = button("Undo", "Undo", () => send(model, "undo"));
  const redo = button("Redo", "Redo", () => send(model, "redo"));
  const again = button("Regenerate", "Answer again", () => send(model, "regenerate"));
  const left = button("‹", "Previous version", () => send(model, "sibling", { step: -1 }));
  const right = button("›", "Next version", () => send(model, "sibling", { step: 1 }));
  const place = element("span", { class: "mullama-place", "aria-live": "polite" });
  const attributes = { class: "mullama-steps", role: "toolbar", "aria-label": "Undo and redo" };
  const others = element("span", { class: "mullama-other-answers" }, again, left, place, right);
  body.append(element("div", attributes, undo, redo, others));
  return {
    update() {
      const steps = state();
      undo.dataset.n = String(steps.undo || "");
      redo.dataset.n = String(steps.redo || "");
      undo.title = steps.undoes ? `Undo “${steps.undoes}”` : "Undo";
      redo.title = steps.redoes ? `Redo “${steps.redoes}”` : "Redo";
      undo.disabled = !steps.undo;
      redo.disabled = !steps.redo;
      again.disabled = !steps.answered;
      place.textContent = `${steps.sibling}/${steps.siblings}`;
      left.disabled = steps.sibling <= 1;
      right.disabled = steps.sibling >= steps.siblings;
    },
  };
}

export default define({
  start: (/** @type {Partial<Steps>} */ snapshot) => ({ ...NONE, ...snapshot }),
  apply: (/** @type {Steps} */ _, /** @type {Steps} */ change) => change,
  draw,
  keys: STEP_KEYS,
});
