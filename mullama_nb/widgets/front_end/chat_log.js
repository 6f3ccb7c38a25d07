// @ts-check
// The messages of a chat panel; what stays is not touched, and a reader at the end stays there.

import { element } from "./dom.js";
import { drawMessage, NAMES } from "./message.js";

/** @import { State } from "./chat_panel.js" */
/** @import { Message } from "./message.js" */
/** @import { PanelModel } from "./message_tokens.js" */
/** @typedef {ReturnType<typeof drawMessage>} MessageRow */

const NEAR = 24; // pixels from the end that count as being there

export class ChatLog {
  /**
   * @param {PanelModel} model
   * @param {() => State} state
   * @param {() => HTMLElement} refuge what gets the focus where its message has gone
   */
  constructor(model, state, refuge) {
    this.model = model;
    this.state = state;
    this.refuge = refuge;
    const name = { role: "log", "aria-live": "polite", "aria-label": "Messages", tabindex: 0 };
    this.node = element("div", { class: "mullama-log", ...name });
    this.empty = element("p", { class: "mullama-empty" }, "Say something to begin.");
    this.end = followEnd(this.node);
    /** @type {MessageRow[]} */
    this.rows = [];
    /** @type {Map<string | undefined, MessageRow>} */
    this.edited = new Map(); // rows that are not shown just now, but hold an edit
    /** @type {MessageRow | null} */
    this.draft = null; // an answer as it comes
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
      old.delete(row.id);
      edited.delete(row.id);
      if (log.children[i] !== row.node) log.insertBefore(row.node, log.children[i] ?? null);
    });
    for (const [id, row] of old) {
      row.node.remove();
      if (row.isEdited) edited.set(id, row);
    }
    this.drawEnd();
    if (focus && !log.contains(activeElement(log))) {
      const buttons = enabledButtons(this.rows[focus.index]);
      const same = buttons.find((each) => each.getAttribute("aria-label") === focus.name);
      (same ?? buttons[0] ?? this.refuge()).focus({ preventScroll: true });
    }
  }

  /**
   * @param {Message} message
   * @param {Map<string | undefined, MessageRow>} old
   */
  rowOf(message, old) {
    const row = old.get(message.id) ?? this.edited.get(message.id);
    if (row) return row;
    if (message.role !== "assistant" || !this.draft) return drawMessage(this.model);
    const { draft } = this; // what streamed is now whole
    this.draft = null;
    return draft;
  }

  /** What stands behind the messages: a question on its way, and an answer as it comes. */
  drawEnd() {
    this.drawPending();
    this.drawDraft();
    if (this.node.childElementCount > Number(this.empty.isConnected)) this.empty.remove();
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

  drawDraft() {
    const { draft: html } = this.state();
    if (!html) {
      this.draft?.node.remove();
      this.draft = null;
      return;
    }
    if (!this.draft) {
      this.draft = drawMessage(this.model);
      this.node.append(this.draft.node);
    }
    this.draft.update({ role: "assistant", html }, true);
  }

  /** Follow what is said from now on. */
  goToEnd() {
    this.end.go();
  }

  refresh() {
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

/** @param {Node} node */
function activeElement(node) {
  const root = /** @type {Document | ShadowRoot} */ (node.getRootNode());
  return root.activeElement ?? null;
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
