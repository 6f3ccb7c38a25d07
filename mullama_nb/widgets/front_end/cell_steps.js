// @ts-check
// What one question does, step by step.

import { button, element, onEnter } from "./dom.js";
import { count } from "./format.js";
import { send, stop } from "./kernel.js";
import { letKeysScroll } from "./scrolling.js";

/** @import { Cells } from "./cell_strips.js" */
/** @import { ChatTraits, Model } from "./kernel.js" */

/**
 * A stage that is done: its name, what was done, and how long that took, in words.
 *
 * @typedef {[name: string, words: string, took: string]} Stage
 */

/**
 * A question that is asked step by step, with its last stages.
 *
 * @typedef {{ question: string, made: Stage[], n_made: number, is_over: boolean }} Steps
 */

const TITLE = "Steps of a question: tokenize, find the prefix, evaluate, decode, capture";

/** @param {Model<ChatTraits>} model */
export function makeSteps(model) {
  const open = button("Steps", TITLE, () => {
    node.hidden = !node.hidden;
    if (!node.hidden) question.focus();
  });
  const label = { placeholder: "A question, to be asked step by step", "aria-label": "Question" };
  const question = onEnter(element("input", { ...label, maxlength: 2000 }), go);
  const next = element("button", { class: "mullama-main", onclick: go }, "Next step");
  const finish = button("Finish", "Finish: go on to the end", () => send(model, "finish"));
  const end = button("Stop", "Stop here; what was said stays", () => stop(model));
  const earlier = element("div", { class: "earlier" });
  const list = letKeysScroll(element("ol", { "aria-live": "polite" }));
  const form = element("div", { class: "ask" }, question, next, finish, end);
  const node = element("div", { class: "steps", hidden: true }, form, earlier, list);

  let shown = 0; // stages of them

  function go() {
    const text = question.value.trim();
    if (text) send(model, "step", { question: text });
    else question.focus();
  }
  return {
    open,
    node,
    /** @param {Cells} cells */
    update({ steps: { question: asked, made, n_made: n, is_over: isOver } }) {
      if (!isOver) node.hidden = false;
      if (!isOver && question.value !== asked) question.value = asked;
      question.disabled = !isOver;
      finish.hidden = end.hidden = isOver;
      const hidden = n - made.length;
      earlier.hidden = !hidden;
      earlier.textContent = `${count(hidden)} stages before`;
      list.start = hidden + 1;
      const nNew = n - shown < 0 ? made.length : Math.min(n - shown, made.length);
      if (nNew === made.length) list.replaceChildren();
      if (nNew) list.append(...made.slice(-nNew).map(drawStage)); // these alone are read aloud
      while (list.children.length > made.length) list.firstElementChild?.remove();
      shown = n;
    },
  };
}

/** @param {Stage} stage */
function drawStage([name, words, took]) {
  const time = element("span", { class: "took" }, took);
  return element("li", {}, element("strong", {}, name), " ", words, " ", time);
}
