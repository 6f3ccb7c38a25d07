// @ts-check
// How the tokens of an answer were chosen, one after the other.

import { define } from "./define.js";
import { button, element } from "./dom.js";
import { count } from "./format.js";
import { Funnel } from "./funnel.js";
import { send } from "./kernel.js";
import { shadesOf } from "./shading.js";
import { makeTokenView } from "./token_view.js";

/** @import { Found } from "./funnel.js" */
/** @import { ChatTraits, Model } from "./kernel.js" */
/** @import { Token } from "./token_view.js" */

/**
 * @typedef {object} State
 * @property {string} here the answer and the token that there is to look at
 * @property {string} at what it was at the last look
 * @property {boolean} is_answering
 * @property {Found | null} found
 * @property {Token[]} tokens of the answer
 * @property {number} token the one that is shown
 */

/** @param {Partial<State>} snapshot @returns {State} */
export function start(snapshot) {
  const nothing = { here: "", at: "", is_answering: false, found: null, tokens: [], token: 0 };
  return { ...nothing, ...snapshot };
}

/**
 * @param {State} state
 * @param {Partial<State>} change
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
  const before = button("‹", "Previous token", () => show(state().token - 1));
  const place = element("span", { class: "mullama-choice-place" });
  const after = button("›", "Next token", () => show(state().token + 1));
  const note = element("span", { class: "mullama-choice-note", role: "status" });
  const steps = { class: "mullama-choice-bar", role: "group", "aria-label": "Token" };
  const bar = element("div", steps, before, place, after, note);
  const text = element("div", { class: "mullama-choice-text" });
  const funnel = new Funnel();
  const empty = element("p", { class: "mullama-choice-empty" });
  body.classList.add("mullama-choice");
  body.append(bar, text, funnel.node, empty);
  /** @type {ReturnType<typeof makeTokenView> | null} */
  let tokens = null;
  /** @type {Token[] | null} */
  let shown = null; // the tokens that are there

  /** @param {number} token */
  function show(token) {
    if (token >= 0 && token < state().tokens.length) send(model, "show", { token });
  }
  function fit() {
    const { tokens: { length }, token, here, at, is_answering } = state();
    const isBusy = model.get("is_busy");
    before.disabled = isBusy || token <= 0;
    after.disabled = isBusy || token >= length - 1;
    note.textContent = is_answering ? "The chat is answering." : isBusy ? "Looking …" : "";
    body.classList.toggle("old", here !== at && length > 0);
    empty.textContent = here ? "Nothing has been looked at yet." : "There is no answer yet.";
  }
  function update() {
    const { tokens: list, token, found } = state();
    if (list !== shown) {
      shown = list;
      tokens = makeTokenView(list, show);
      const { shades, words } = shadesOf("probability", list, null);
      tokens.shade(shades, words);
      text.replaceChildren(tokens.node);
    }
    tokens?.press(token);
    keepInSight(text, tokens?.at(token));
    const where = found ? `, position ${count(found.position)}` : "";
    place.textContent = `Token ${count(token + 1)} of ${count(list.length)}${where}`;
    bar.hidden = text.hidden = !list.length;
    empty.hidden = found !== null;
    funnel.show(found);
    fit();
  }
  model.on("change:is_busy", fit);
  return { update, destroy: () => model.off("change:is_busy", fit) };
}

/**
 * Scroll what holds an element, and nothing else, so that it is seen.
 *
 * @param {HTMLElement} area
 * @param {HTMLElement | undefined} node
 */
function keepInSight(area, node) {
  if (!node) return;
  const whole = area.getBoundingClientRect(), part = node.getBoundingClientRect();
  if (part.top < whole.top) area.scrollTop -= whole.top - part.top + 4;
  else if (part.bottom > whole.bottom) area.scrollTop += part.bottom - whole.bottom + 4;
}

export default define({ start, apply, draw });
