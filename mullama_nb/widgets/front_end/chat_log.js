// @ts-check
// The messages of a chat panel; what stays is not touched, and a reader at the end stays there.

import { makeCards } from "./answer_cards.js";
import { element } from "./dom.js";
import { activeElement } from "./focus.js";
import { drawMessage, NAMES } from "./message.js";
import { makeInstruct } from "./instruct.js";

/** @import { State } from "./chat_panel.js" */
/** @import { Message } from "./message.js" */
/** @import { PanelModel } from "./message_tokens.js" */
/** @typedef {ReturnType<typeof drawMessage>} MessageRow */

const COMING = { role: "assistant" }; // an answer that has no checkpoint yet
const NEAR = 24; // pixels from the end that count as being there

export class ChatLog {
  /**
   * @param {PanelModel} model
   * @param {() => State} state
   */
  constructor(model, state) {
    this.model = model;
    this.state = state;
    const name = { role: "log", "aria-live": "polite", "aria-label": "Messages", tabindex: 0 };
    this.node = element("div", { class: "mullama-log", ...name });
    this.empty = element("p", { class: "mullama-empty" }, "Say something to begin.");
    this.instruct = makeInstruct(model, () => this.state().messages);
    this.node.append(this.instruct.node); // the first child; the rows follow
    this.end = followEnd(this.node);
    this.cards = makeCards(model); // of the answers to the last message
    /** @type {MessageRow[]} */
    this.rows = [];
    /** @type {Map<string | undefined, MessageRow>} */
    this.edited = new Map(); // rows that are not shown just now, but hold an edit
    /** @type {MessageRow | null} */
    this.growing = null; // the row of an answer as it comes: one of its own, or the last
    /** @type {HTMLElement | null} */
    this.pending = null; // a question on its way
  }

  /** Have the log hold the rows of the messages. */
  arrange() {
    const { node: log, edited } = this;
    const { messages } = this.state();
    const old = new Map(this.rows.map((row) => [row.id, row]));
    const focus = focusIn(log, this.rows);
    this.rows = messages.map((message) => this.rowOf(message, old));
    this.rows.forEach((row, i) => {
      row.update(messages[i], i === messages.length - 1);
      edited.delete(row.id);
      const there = log.children[i + 1] ?? null;
      if (there !== row.node) log.insertBefore(row.node, there);
    });
    for (const [id, row] of old) {
      if (row === this.growing) this.growing = null;
      row.node.remove();
      if (row.isEdited) edited.set(id, row);
    }
    this.drawEnd();
    if (focus && !log.contains(activeElement(log))) {
      const buttons = enabledButtons(this.rows[focus.index]);
      const same = buttons.find((each) => each.getAttribute("aria-label") === focus.name);
      (same ?? buttons[0] ?? log).focus({ preventScroll: true });
    }
  }

  /**
   * The row that a message has had, that it grew in, or a new one.
   *
   * @param {Message} message
   * @param {Map<string | undefined, MessageRow>} old rows that are not taken yet
   */
  rowOf({ id, role }, old) {
    const row = old.get(id) ?? this.edited.get(id);
    if (row) {
      old.delete(id);
      return row;
    }
    const { growing } = this; // what streamed is now whole
    const isFree = growing && (growing.id === undefined || old.get(growing.id) === growing);
    if (role !== "assistant" || !isFree) return this.drawRow();
    old.delete(growing.id);
    this.growing = null;
    return growing;
  }

  drawRow() {
    const isAsked = () => this.state().messages.some(({ role }) => isQuestion(role));
    return drawMessage(this.model, (role) => isQuestion(role) || role === "system" && isAsked());
  }

  /** Have a reader write another message in place of the last one. */
  replaceLast() {
    this.rows.at(-1)?.replace();
  }

  /** What stands behind the messages: a question on its way, and an answer as it comes. */
  drawEnd() {
    this.drawPending();
    this.drawGrowing();
    this.drawCards();
    this.instruct.update();
    if (this.node.childElementCount > 1 + Number(this.empty.isConnected)) this.empty.remove();
    else this.node.append(this.empty);
    this.end.keep();
  }

  drawPending() {
    const waits = this.model.get("pending");
    const asked = this.state().messages.findLast(({ role }) => role === "user")?.text;
    if (!waits || asked === waits) {
      this.pending?.remove();
      this.pending = null;
    } else if (!this.pending) {
      this.pending = element(
        "article",
        { class: "mullama-message mullama-user mullama-pending" },
        element("div", { class: "mullama-role" }, NAMES.user),
        element("div", { class: "mullama-text" }, waits),
      );
      this.node.append(this.pending);
    }
  }

  drawGrowing() {
    const { live, messages } = this.state();
    const message = messages.at(-1);
    const last = live?.continues && message?.role === "assistant" ? this.rows.at(-1) : undefined;
    const { growing } = this;
    if (growing && (!live || growing !== last && (last || this.rows.includes(growing)))) {
      this.leave(growing);
    }
    if (!live) return;
    this.growing ??= last ?? this.drawRow();
    if (!this.growing.node.isConnected) this.node.append(this.growing.node);
    this.growing.update((last && message) ?? COMING, true, live);
  }

  /** Show answers while they grow side by side, and else while nothing is on its way. */
  drawCards() {
    const { live, cards } = this.state();
    const { node } = this.cards;
    const isBusy = live || this.model.get("is_busy") || this.model.get("in_cell");
    const areGrowing = cards.live.length > cards.answers.length;
    this.cards.update(cards);
    if (cards.live.length && (areGrowing || !isBusy)) {
      if (this.node.lastChild !== node) this.node.append(node);
      return;
    }
    const hadFocus = node.contains(activeElement(this.node));
    node.remove();
    if (hadFocus) this.node.focus({ preventScroll: true });
  }

  /** Have a row stand no longer for an answer that comes. @param {MessageRow} row */
  leave(row) {
    const at = this.rows.indexOf(row);
    const { messages } = this.state();
    if (at < 0) row.node.remove();
    else row.update(messages[at], at === messages.length - 1);
    this.growing = null;
  }

  /** Follow what is said from now on. */
  goToEnd() {
    this.end.go();
  }

  refresh() {
    this.instruct.update();
    this.rows.forEach((row) => row.refresh());
    this.drawEnd();
  }

  destroy() {
    this.end.destroy();
  }
}

/**
 * Keep a reader who is at the end there, while more comes.
 *
 * @param {HTMLElement} log
 */
function followEnd(log) {
  let follows = true; // whether the reader is at the end
  let end = 0; // where the log was last seen to stand
  // A scroll is told a frame later, so a place above where the log was left counts, too.
  const keep = () => {
    follows &&= log.scrollTop >= end - 1;
    if (follows) log.scrollTop = log.scrollHeight;
    end = log.scrollTop;
  };
  log.addEventListener("scroll", () => {
    follows = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
    end = log.scrollTop;
  });
  const observer = new ResizeObserver(keep);
  observer.observe(log);
  const go = () => {
    follows = true;
  };
  return { keep, go, destroy: () => observer.disconnect() };
}

/** @param {string} role */
function isQuestion(role) {
  return role !== "system" && role !== "assistant";
}

/**
 * Which message has the focus, and by what it is called there.
 *
 * @param {Node} log
 * @param {MessageRow[]} rows
 */
function focusIn(log, rows) {
  const active = activeElement(log);
  const index = rows.findIndex(({ node }) => node.contains(active));
  return active === null || index < 0 ? null : { index, name: active.getAttribute("aria-label") };
}

/** @param {MessageRow | undefined} row @returns {HTMLElement[]} */
function enabledButtons(row) {
  return [...(row?.node.querySelectorAll(".mullama-tools button:enabled:not([hidden])") ?? [])]
    .filter((each) => each instanceof HTMLElement);
}
