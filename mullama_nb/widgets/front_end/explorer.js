// @ts-check
// Several answers to one question, growing side by side.

import { apply as applyToCards, makeCards, start as startCards } from "./answer_cards.js";
import { define } from "./define.js";
import { element, onEnter } from "./dom.js";
import { onChange, send, stop } from "./kernel.js";

/** @import { Cards, Change } from "./answer_cards.js" */
/** @import { ChatTraits, Model } from "./kernel.js" */

/** @typedef {ChatTraits & { asks: boolean }} ExplorerTraits */

/** @param {Partial<Cards>} snapshot */
export function start(snapshot) {
  return startCards(snapshot);
}

/**
 * @param {Cards} state
 * @param {Change} change
 */
export function apply(state, change) {
  return applyToCards(state, change);
}

/**
 * @param {HTMLElement} body
 * @param {{ model: Model<ExplorerTraits>, state: () => Cards }} scope
 */
function draw(body, { model, state }) {
  const question = {
    rows: 1,
    "aria-label": "Question",
    placeholder: "Ask for several answers, or leave empty for the last question",
  };
  const box = onEnter(element("textarea", question), explore);
  const number = { "aria-label": "Number of answers", title: "Number of answers" };
  const count = element("input", { type: "number", min: 2, max: 16, value: 4, ...number });
  const main = { type: "button", class: "mullama-main", onclick: explore };
  const go = element("button", main, "Explore");
  const halt = element("button", { type: "button", onclick: () => stop(model) }, "Stop");
  const cards = makeCards(model);
  const ask = element("div", { class: "mullama-ask" }, box, count, go, halt);
  body.append(...(model.get("asks") ? [ask] : []), cards.node);

  function explore() {
    if (model.get("is_busy")) return;
    send(model, "explore", { text: box.value.trim(), n: Number(count.value) });
  }
  function update() {
    const { live, answers } = state();
    const isBusy = model.get("is_busy");
    go.disabled = isBusy;
    halt.disabled = !(isBusy || model.get("in_cell") || live.length > answers.length);
    cards.update(state());
  }
  return { update, destroy: onChange(model, ["is_busy", "in_cell"], update) };
}

export default define({ start, apply, draw });
