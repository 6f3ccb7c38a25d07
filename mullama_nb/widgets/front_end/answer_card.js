// @ts-check
// The card of one answer.

import { element, nameOf } from "./dom.js";
import { send } from "./kernel.js";
import { makeSaid } from "./said.js";

/** @import { Model } from "./kernel.js" */
/** @import { Live } from "./live_answer.js" */

/**
 * An answer that is whole, and what became of it.
 *
 * @typedef {object} Answer
 * @property {string} id
 * @property {number} tokens
 * @property {number | null} surprise mean of its tokens, in nats
 * @property {string} note on its length, on that mean, and how it ended
 * @property {string} marked its text with marks around what the first does not say; empty for none
 * @property {boolean} is_there
 * @property {boolean} is_kept
 * @property {boolean} goes_on whether more was said after it
 * @property {string[]} tags that go with it
 * @property {string} settings that it does not share with the others; empty for none
 */

/**
 * Draw a card.
 *
 * @param {Pick<Model, "send">} model
 * @param {number} index among the answers, which gives it its name
 */
export function drawAnswer(model, index) {
  /** @type {Answer | undefined} */
  let answer;
  const settings = element("span");
  const name = `Answer ${index + 1}`;
  const head = element("div", { class: "mullama-settings" }, element("strong", {}, name), settings);
  const said = makeSaid();
  said.node.tabIndex = 0; // so that keys can scroll it
  const tools = makeTools(index, (action, options) => {
    if (answer) send(model, action, { checkpoint: answer.id, ...options });
  });
  const parts = [head, said.node, tools.node, tools.asks];
  const names = { role: "listitem", "aria-label": name };
  const node = element("div", { class: "mullama-answer", ...names }, parts);
  /**
   * @param {Live | undefined} live
   * @param {Answer | undefined} found
   * @param {{ others: Answer[], note: string, isMarked: boolean }} rest
   */
  function update(live, found, { others, note, isMarked }) {
    answer = found;
    const { node: area } = said;
    const follows = area.scrollHeight - area.scrollTop - area.clientHeight < 24;
    if (live && found) {
      const html = (isMarked && found.marked) || live.text;
      said.show({ ...live, html, calls: live.called });
    } else if (live) said.stream(live);
    if (!answer && follows) area.scrollTop = area.scrollHeight;
    settings.textContent = answer?.settings ?? "";
    node.setAttribute("aria-busy", String(!answer));
    node.classList.toggle("kept", Boolean(answer?.is_kept));
    node.classList.toggle("gone", answer?.is_there === false);
    tools.update(answer, others, note);
  }
  return { node, update };
}

/**
 * The buttons of a card, and the question that one of them asks.
 *
 * @param {number} index
 * @param {(action: string, options?: Record<string, boolean>) => void} act
 */
function makeTools(index, act) {
  /** @type {Answer[]} */
  let others = [];
  /** @type {string[]} */
  let tags = [];
  /**
   * @param {string} label
   * @param {string} title
   * @param {() => void} onclick
   */
  const button = (label, title, onclick) => {
    const made = element("button", { type: "button", title, onclick });
    call(made, label);
    return made;
  };
  /**
   * @param {HTMLButtonElement} made
   * @param {string} label
   */
  function call(made, label) {
    made.textContent = label;
    made.setAttribute("aria-label", `${nameOf(label, made.title)} (answer ${index + 1})`);
  }
  const keep = button("Keep", "Go on from this answer", () => act("keep"));
  const drop = button("Drop others", "Keep this answer and remove the others", ask);
  const note = element("span", { class: "mullama-figures" });
  const node = element("div", { class: "mullama-answer-tools" }, note, keep, drop);
  const question = element("p");
  const cancel = element("button", { type: "button", onclick: close }, "Cancel");
  const sure = { type: "button", class: "mullama-danger", onclick: dropThem };
  const dialog = { role: "alertdialog", "aria-label": "Drop the other answers", hidden: true };
  const asks = element(
    "div",
    { class: "mullama-answer-asks", ...dialog },
    question,
    element("button", sure, "Drop"),
    cancel,
  );
  asks.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") close();
  });

  function ask() {
    question.textContent = droppingQuestion(others, tags);
    asks.hidden = false;
    cancel.focus();
  }
  function close() {
    asks.hidden = true;
    drop.focus();
  }
  function dropThem() {
    close();
    act("drop_others", { force: true });
  }
  /**
   * @param {Answer | undefined} answer
   * @param {Answer[]} rest those beside it that are there
   * @param {string} growing what is said of it while it grows
   */
  function update(answer, rest, growing) {
    others = rest;
    tags = answer?.tags ?? [];
    keep.hidden = drop.hidden = !answer?.is_there;
    keep.disabled = Boolean(answer?.is_kept);
    call(keep, answer?.is_kept ? "Kept" : "Keep");
    drop.disabled = !others.length;
    if (!others.length || !answer?.is_there) asks.hidden = true;
    note.textContent = answer ? answer.is_there ? answer.note : "dropped" : growing;
  }
  return { node, asks, update };
}

/**
 * What goes with other answers.
 *
 * @param {Answer[]} others
 * @param {string[]} kept tags that stay with the answer
 */
export function droppingQuestion(others, kept) {
  const n = others.length;
  const further = others.filter(({ goes_on }) => goes_on).length;
  const behind = others.flatMap((each) => each.tags); // some may share a part
  const tags = [...new Set(behind)].filter((tag) => !kept.includes(tag));
  const parts = [`Drop the ${n === 1 ? "other answer" : `${n} other answers`}`];
  if (further) parts.push(`${n === 1 ? "" : `${further} of them `}with all that followed`);
  if (tags.length) parts.push(`and the tag${tags.length === 1 ? "" : "s"} ${tags.join(", ")}`);
  return `${parts.join(", ").replace(", and", " and")}?`;
}
