// @ts-check
// What is said, and offered, while the last message is one that the model has not answered.

import { button, element, nameOf, onEnter } from "./dom.js";
import { plural } from "./format.js";
import { send } from "./kernel.js";

/** @import { State } from "./chat_panel.js" */
/** @import { PanelModel } from "./message_tokens.js" */

/**
 * The message that the head stands on, if the model has to answer it.
 *
 * @typedef {object} Standing
 * @property {string} id
 * @property {number} answers that it has, none of which is on the path
 */

const SEVERAL = 4; // answers at once, unless another number is chosen
const MOST = 64;

/**
 * @param {PanelModel} model
 * @param {() => State} state
 * @param {() => void} replace have the reader write another message in its place
 */
export function makeStanding(model, state, replace) {
  const words = element("span", { class: "words" });
  const answer = button(
    "Answer",
    "Have the model answer the last message",
    () => {
      send(model, "answer", { n: 1 });
    },
  );
  const several = button("Answer ×", "", () => {
    if (!several.disabled) send(model, "answer", { n: number() });
  });
  const limits = { type: "number", min: 2, max: MOST, value: SEVERAL };
  const field = element("input", {
    ...limits,
    "aria-label": "Number of answers",
  });
  onEnter(field, () => several.click());
  field.addEventListener("input", name);
  const other = button(
    "Write another in its place",
    "Write another message in place of the last one",
    replace,
  );
  const group = {
    class: "mullama-standing",
    role: "group",
    "aria-label": "Not answered",
  };
  const node = element(
    "div",
    { ...group, hidden: true },
    words,
    element(
      "span",
      { class: "offers" },
      answer,
      element("span", { class: "several" }, several, field),
      other,
    ),
  );

  function number() {
    const n = Math.round(Number(field.value));
    return Math.min(MOST, Math.max(2, n || SEVERAL));
  }
  function name() {
    several.title = `Have the model give ${number()} answers to the last message`;
    several.setAttribute("aria-label", nameOf(several.textContent, several.title));
  }
  name();
  return {
    node,
    update() {
      const { standing, live, progress } = state();
      const isWaiting = live || progress || model.get("is_busy") ||
        model.get("in_cell");
      node.hidden = !standing || Boolean(isWaiting);
      if (standing) words.textContent = describe(standing);
    },
  };
}

/** @param {Standing} standing */
export function describe({ answers }) {
  if (!answers) return "The last message has no answer yet.";
  return `The last message has ${plural(answers, "answer")}, shown above.`;
}
