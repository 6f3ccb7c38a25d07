// @ts-check
// What was said, a box to write in, and a way into every answer.

import { ChatLog } from "./chat_log.js";
import { makeWriter } from "./chat_writer.js";
import { define } from "./define.js";
import { element } from "./dom.js";
import { count } from "./format.js";
import { grow } from "./live_answer.js";

/** @import { Live, LiveChange } from "./live_answer.js" */
/** @import { Message } from "./message.js" */
/** @import { PanelModel } from "./message_tokens.js" */

/**
 * The messages, the answer that is coming, and how many tokens of how many have been evaluated
 * before it.
 *
 * @typedef {object} State
 * @property {Message[]} messages
 * @property {string[]} settings adapters and template options that are on
 * @property {Live | null} live
 * @property {Progress | null} progress
 */

/** @typedef {[evaluated: number, total: number]} Progress */

/**
 * Messages that are new behind the one called `after`, fields of those before, what has been added
 * to the answer that is coming, and settings where they are others now.
 *
 * @typedef {object} Change
 * @property {string | null} [after] null: no message stays
 * @property {Message[]} [messages]
 * @property {(Partial<Message> & { id: string })[]} [changed]
 * @property {string[]} [settings]
 * @property {LiveChange | null} [live] null: none is coming any more
 * @property {Progress | null} [progress]
 */

/** @param {Partial<State>} snapshot @returns {State} */
export function start({ messages = [], settings = [], live = null, progress = null }) {
  return { messages, settings, live, progress };
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
  const { settings, live, progress } = change;
  if (settings) state.settings = settings;
  if (live !== undefined) state.live = live && grow(state.live, live);
  if (live && !state.live) return null;
  if (progress !== undefined) state.progress = progress;
  return state;
}

/**
 * @param {HTMLElement} body
 * @param {{ model: PanelModel, state: () => State }} scope
 */
function draw(body, { model, state }) {
  const progress = makeProgress();
  const log = new ChatLog(model, state, () => writer.box);
  const writer = makeWriter(model, state, progress.node, () => log.goToEnd());
  body.classList.add("mullama-chat");
  const settings = element("div", { class: "mullama-settings", hidden: true });
  body.append(log.node, settings, writer.node);

  function read() {
    settings.textContent = state().settings.join(" · ");
    settings.hidden = !settings.textContent;
    progress.update(state(), model.get("is_busy"));
    writer.fit();
  }
  function refresh() {
    log.refresh();
    read();
  }
  const refreshing =
    "change:is_busy change:detail change:alternatives change:entropy change:pending";
  model.on(refreshing, refresh);
  model.on("change:in_cell", writer.fit);
  model.on("change:error", writer.giveBack);
  return {
    /** @param {Change | null} change */
    update(change) {
      if (!change || change.messages) log.arrange();
      else if (change.live !== undefined) log.drawEnd();
      read();
    },
    destroy() {
      log.destroy();
      model.off(refreshing, refresh);
      model.off("change:in_cell", writer.fit);
      model.off("change:error", writer.giveBack);
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

export default define({ start, apply, draw });
