// @ts-check
// Cards of the answers to one question: to compare, to sort, to keep one of.

import { drawAnswer } from "./answer_card.js";
import { element } from "./dom.js";
import { plural } from "./format.js";
import { grow } from "./live_answer.js";

/** @import { Answer } from "./answer_card.js" */
/** @import { Model } from "./kernel.js" */
/** @import { Live, LiveChange } from "./live_answer.js" */

/**
 * What each answer says so far, notes on those that grow, and those that are whole, oldest first.
 *
 * @typedef {{ live: Live[], growing: string[], answers: Answer[] }} Cards
 */

/**
 * @typedef {object} Change
 * @property {Cards} [begins] other answers
 * @property {[index: number, change: LiveChange][]} [live]
 * @property {string[]} [growing]
 * @property {Answer[]} [answers]
 */

/** @param {Partial<Cards>} snapshot @returns {Cards} */
export function start({ live = [], growing = [], answers = [] }) {
  return { live, growing, answers };
}

/**
 * @param {Cards} cards
 * @param {Change} change
 * @returns {Cards | null} null where the change does not fit
 */
export function apply(cards, change) {
  const next = start(change.begins ?? cards);
  next.live = [...next.live];
  for (const [index, grown] of change.live ?? []) {
    const live = grow(next.live[index] ?? null, grown);
    if (!live) return null;
    next.live[index] = live;
  }
  if (change.growing) next.growing = change.growing;
  if (change.answers) next.answers = change.answers;
  return next;
}

/** @type {Record<string, (answer: Answer) => number>} */
const ORDERS = {
  "Oldest first": () => 0,
  "Shortest first": ({ tokens }) => tokens,
  "Least surprising first": ({ surprise }) => surprise ?? Infinity,
};

/**
 * Draw cards; the widget has the actions `keep` and `drop_others`.
 *
 * @param {Pick<Model, "send">} model
 */
export function makeCards(model) {
  let shown = start({});
  let isMarked = true; // whether words are marked that the first answer does not have
  /** @type {ReturnType<typeof drawAnswer>[]} */
  const cards = [];
  const onchange = () => arrange();
  const names = Object.keys(ORDERS).map((name) => element("option", {}, name));
  const order = element("select", { "aria-label": "Order of the answers", onchange }, names);
  const title = "Mark the words that the first answer does not have";
  const compare = element("button", { type: "button", title, onclick: toggle }, "Differences");
  const how = element("span", { class: "mullama-figures" });
  const bar = element("div", { class: "mullama-cards-bar", hidden: true }, how, order, compare);
  const grid = element("div", { class: "mullama-answers", role: "list", "aria-label": "Answers" });
  const node = element("div", { class: "mullama-cards", "aria-live": "off" }, bar, grid);

  function toggle() {
    isMarked = !isMarked;
    update(shown);
  }
  /** Have the cards in the chosen order, and those that grow behind the others. */
  function arrange() {
    const { answers } = shown;
    const value = ORDERS[order.value];
    const places = cards.map((_, index) => index);
    const rank = (/** @type {number} */ index) => {
      return index < answers.length ? value(answers[index]) : Infinity;
    };
    places.sort((a, b) => {
      const [one, other] = [rank(a), rank(b)];
      return one === other ? a - b : one - other;
    });
    places.forEach((index, i) => {
      const card = cards[index].node;
      if (grid.children[i] !== card) grid.insertBefore(card, grid.children[i] ?? null);
    });
  }
  /** @param {Cards} next */
  function update(next) {
    const { live, growing, answers } = shown = next;
    const n = Math.max(live.length, answers.length);
    while (cards.length > n) cards.pop()?.node.remove();
    while (cards.length < n) cards.push(drawAnswer(model, cards.length));
    const left = answers.filter(({ is_there }) => is_there);
    const note = (/** @type {number} */ index) => growing[index - answers.length] ?? "…";
    cards.forEach((card, index) => {
      const others = left.filter((answer) => answer !== answers[index]);
      card.update(live[index], answers[index], { others, note: note(index), isMarked });
    });
    grid.hidden = !n;
    bar.hidden = answers.length < 2;
    how.textContent = plural(answers.length, "answer");
    compare.hidden = !answers.some(({ marked }) => marked);
    compare.setAttribute("aria-pressed", String(isMarked));
    arrange();
  }
  return { node, update };
}
