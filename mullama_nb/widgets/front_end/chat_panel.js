// @ts-check
// What was said, a box to write in, and a way into every answer.

import { apply as applyToCards, start as startCards } from "./answer_cards.js";
import { ChatLog } from "./chat_log.js";
import { makeComposer } from "./composer.js";
import { define } from "./define.js";
import { element } from "./dom.js";
import { EMPTY, makeFooter } from "./footer.js";
import { count } from "./format.js";
import { onChange } from "./kernel.js";
import { STEP_KEYS } from "./keys.js";
import { grow } from "./live_answer.js";
import { makeStanding } from "./standing.js";

/** @import { Cards, Change as CardChange } from "./answer_cards.js" */
/** @import { Footer, Typed } from "./footer.js" */
/** @import { Live, LiveChange } from "./live_answer.js" */
/** @import { Message } from "./message.js" */
/** @import { PanelModel } from "./message_tokens.js" */
/** @import { Standing } from "./standing.js" */

/**
 * The messages, the answer that is coming, and how many tokens of how many have been evaluated
 * before it.
 *
 * @typedef {object} State
 * @property {Message[]} messages
 * @property {string[]} settings adapters and options that are on
 * @property {Footer} footer
 * @property {Standing | null} standing
 * @property {Live | null} live
 * @property {Progress | null} progress
 * @property {Cards} cards of the answers to the last message, or of those that grow side by side
 */

/** @typedef {[evaluated: number, total: number]} Progress */

/**
 * Messages that are new behind the one called `after`, fields of those before, what has been added
 * to the answer that is coming, and of settings and the footer what is other now.
 *
 * @typedef {object} Change
 * @property {string | null} [after] null: no message stays
 * @property {Message[]} [messages]
 * @property {(Partial<Message> & { id: string })[]} [changed]
 * @property {string[]} [settings]
 * @property {Partial<Footer>} [footer]
 * @property {Typed} [typed] what was counted for a view
 * @property {Standing | null} [standing]
 * @property {LiveChange | null} [live] null: none is coming any more
 * @property {Progress | null} [progress]
 * @property {CardChange} [cards]
 */

/** @param {Partial<State>} snapshot @returns {State} */
export function start(
  {
    messages = [],
    settings = [],
    footer = EMPTY,
    standing = null,
    live = null,
    progress = null,
    cards = startCards({}),
  },
) {
  return { messages, settings, footer, standing, live, progress, cards };
}

/**
 * @param {State} state
 * @param {Change} change
 */
export function apply(state, { after = null, messages, changed = [], ...change }) {
  if (messages) {
    const kept = after === null ? 0 : state.messages.findIndex(({ id }) => id === after) + 1;
    if (after !== null && !kept) return null;
    const fields = new Map(changed.map((each) => [each.id, each]));
    state.messages = state.messages
      .slice(0, kept)
      .map((message) =>
        fields.has(message.id) ? { ...message, ...fields.get(message.id) } : message
      )
      .concat(messages);
  }
  const { settings, footer, standing, live, progress } = change;
  if (settings) state.settings = settings;
  if (footer) state.footer = { ...state.footer, ...footer };
  if (standing !== undefined) state.standing = standing;
  if (live !== undefined) state.live = live && grow(state.live, live);
  if (live && !state.live) return null;
  if (progress !== undefined) state.progress = progress;
  const cards = change.cards ? applyToCards(state.cards, change.cards) : state.cards;
  if (!cards) return null;
  state.cards = cards;
  return state;
}

/**
 * @param {HTMLElement} body
 * @param {{ model: PanelModel, state: () => State }} scope
 */
function draw(body, { model, state }) {
  const progress = makeProgress();
  const log = new ChatLog(model, state);
  const footer = makeFooter(model, state);
  const hears = { onSend: () => log.goToEnd(), onType: footer.type };
  const composer = makeComposer(model, state, progress.node, hears);
  body.classList.add("mullama-chat");
  const standing = makeStanding(model, state, () => log.replaceLast());
  body.append(log.node, standing.node, composer.node, footer.node);

  function read() {
    standing.update();
    progress.update(state(), model.get("is_busy"));
    composer.refresh();
    footer.refresh();
  }
  function refresh() {
    log.refresh();
    read();
  }
  function giveBack() {
    composer.giveBack();
    footer.refresh();
  }
  const ends = [
    onChange(
      model,
      ["is_busy", "in_cell", "detail", "alternatives", "entropy", "pending"],
      refresh,
    ),
    onChange(model, ["remedies", "notice", "pace"], read),
    onChange(model, ["error"], giveBack),
    onChange(model, ["failures"], composer.fail),
  ];
  return {
    /** @param {Change | null} change */
    update(change) {
      if (change?.typed) return footer.hear(change.typed);
      if (!change || change.messages) footer.recount();
      if (!change || change.messages) log.arrange();
      else if (change.live !== undefined || change.cards) log.drawEnd();
      read();
    },
    destroy() {
      log.destroy();
      footer.destroy();
      ends.forEach((end) => end());
    },
  };
}

/** How far the model is with what it has to read before it answers, where that is known. */
function makeProgress() {
  const bar = element("progress", { "aria-label": "Evaluating" });
  const words = element("span");
  const node = element("div", { class: "mullama-progress", hidden: true }, bar, words);
  return {
    node,
    /**
     * @param {State} state
     * @param {boolean} isBusy
     */
    update({ progress, live }, isBusy) {
      node.hidden = Boolean(live) || !(progress || isBusy);
      if (progress) {
        const [evaluated, total] = progress;
        bar.value = evaluated;
        bar.max = total;
        words.textContent = `Reading ${count(evaluated)} of ${count(total)} tokens`;
      } else {
        bar.removeAttribute("value");
        words.textContent = "Reading";
      }
    },
  };
}

export default define({ start, apply, draw, showsError: false, keys: STEP_KEYS });
