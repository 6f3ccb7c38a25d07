// @ts-check
// Several answers to one question, growing side by side.

import { define } from "./define.js";
import { element, onEnter } from "./dom.js";
import { plural } from "./format.js";
import { send, stop } from "./kernel.js";
import { grow } from "./live_answer.js";
import { makeSaid } from "./said.js";

/** @import { ChatTraits, Model } from "./kernel.js" */
/** @import { Live, LiveChange } from "./live_answer.js" */

/**
 * An answer that is whole, and what became of it.
 *
 * @typedef {object} Answer
 * @property {string} id
 * @property {string} finish_reason
 * @property {number} tokens
 * @property {boolean} is_there
 * @property {boolean} is_kept
 * @property {string} settings that it does not share with the others; empty for none
 */

/**
 * What each answer says so far, and those that are whole.
 *
 * @typedef {{ live: Live[], answers: Answer[] }} State
 */

/**
 * @typedef {object} Change
 * @property {boolean} [begins] another exploration
 * @property {[branch: number, change: LiveChange][]} [live]
 * @property {Answer[]} [answers]
 */

/** @type {Record<string, string>} */
const ENDS = { stop: "", length: "cut off", stopped: "stopped" };

/** @param {Partial<State>} snapshot @returns {State} */
export function start({ live = [], answers = [] }) {
  return { live, answers };
}

/**
 * @param {State} state
 * @param {Change} change
 * @returns {State | null}
 */
export function apply(state, change) {
  const next = change.begins ? start({}) : state;
  for (const [branch, grown] of change.live ?? []) {
    const live = grow(next.live[branch] ?? null, grown);
    if (!live) return null;
    next.live[branch] = live;
  }
  if (change.answers) next.answers = change.answers;
  return next;
}

/**
 * @param {HTMLElement} body
 * @param {{ model: Model<ChatTraits>, state: () => State }} scope
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
  const grid = element("div", { class: "mullama-answers", role: "list", "aria-label": "Answers" });
  body.classList.add("mullama-explorer");
  body.append(element("div", { class: "mullama-ask" }, box, count, go, halt), grid);
  /** @type {ReturnType<typeof drawAnswer>[]} */
  const cards = [];

  function explore() {
    if (model.get("is_busy")) return;
    send(model, "explore", { text: box.value.trim(), n: Number(count.value) });
  }
  function update() {
    const { live, answers } = state();
    const isBusy = model.get("is_busy");
    go.disabled = isBusy;
    halt.disabled = !(isBusy || model.get("in_cell") || live.length > answers.length);
    const n = Math.max(live.length, answers.length);
    while (cards.length > n) cards.pop()?.node.remove();
    while (cards.length < n) {
      const card = drawAnswer(model, cards.length);
      cards.push(card);
      grid.append(card.node);
    }
    const left = answers.filter((answer) => answer.is_there).length;
    cards.forEach((card, branch) => card.update(live[branch], answers[branch], left));
  }
  model.on("change:is_busy change:in_cell", update);
  return { update, destroy: () => model.off("change:is_busy change:in_cell", update) };
}

/**
 * @param {Model<ChatTraits>} model
 * @param {number} branch
 */
function drawAnswer(model, branch) {
  /** @type {Answer | undefined} */
  let answer;
  const head = element("div", { class: "mullama-settings" });
  const said = makeSaid();
  said.node.tabIndex = 0; // so that keys can scroll it
  /**
   * @param {string} label
   * @param {string} title
   * @param {string} action
   */
  const button = (label, title, action) => {
    const name = `${title} (answer ${branch + 1})`;
    const onclick = () => {
      if (answer) send(model, action, { checkpoint: answer.id });
    };
    return element("button", { type: "button", title, "aria-label": name, onclick }, label);
  };
  const keep = button("Keep", "Go on from this answer", "keep");
  const drop = button("Drop others", "Keep this answer and remove the others", "drop_others");
  const note = element("span", { class: "mullama-note" });
  const tools = element("div", { class: "mullama-answer-tools" }, keep, drop, note);
  const name = { role: "listitem", "aria-label": `Answer ${branch + 1}` };
  const node = element("div", { class: "mullama-answer", ...name }, head, said.node, tools);
  /**
   * @param {Live | undefined} live
   * @param {Answer | undefined} found
   * @param {number} n answers that are left
   */
  function update(live, found, n) {
    answer = found;
    const { node: area } = said;
    const follows = area.scrollHeight - area.scrollTop - area.clientHeight < 24;
    if (live && found) said.show({ ...live, html: live.text, calls: live.called });
    else if (live) said.stream(live);
    if (!answer && follows) area.scrollTop = area.scrollHeight;
    head.textContent = answer?.settings ?? "";
    head.hidden = !head.textContent;
    node.setAttribute("aria-busy", String(!answer));
    node.classList.toggle("kept", Boolean(answer?.is_kept));
    node.classList.toggle("gone", answer?.is_there === false);
    keep.hidden = drop.hidden = !answer?.is_there;
    keep.disabled = Boolean(answer?.is_kept);
    keep.textContent = answer?.is_kept ? "Kept" : "Keep";
    drop.disabled = n < 2;
    note.textContent = answer ? noteOn(answer) : "…";
  }
  return { node, update };
}

/** How long an answer is and how it ended. @param {Answer} answer */
function noteOn({ is_there, tokens, finish_reason }) {
  if (!is_there) return "dropped";
  const end = ENDS[finish_reason] ?? finish_reason;
  return [plural(tokens, "token"), end].filter(Boolean).join(", ");
}

export default define({ start, apply, draw });
