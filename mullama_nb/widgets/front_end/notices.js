// @ts-check
// What the panel has to tell, beside the composer: an error, a context that is full, what was done.

import { button, element } from "./dom.js";
import { send } from "./kernel.js";
import { letKeysScroll } from "./scrolling.js";

/** @import { State } from "./chat_panel.js" */
/** @import { PanelModel } from "./message_tokens.js" */

/**
 * A button that helps, and the action that it asks for.
 *
 * @typedef {{ label: string, action: string, arguments: Record<string, number> }} Remedy
 */

/**
 * @typedef {object} Notice
 * @property {"error" | "full" | "note"} kind
 * @property {string} text
 * @property {Remedy[]} remedies
 */

/**
 * What there is to tell; an error says what a full context would.
 *
 * @param {{ error: string, remedies: Remedy[], notice: string }} traits
 * @param {{ text: string, remedies: Remedy[] } | null} full
 * @returns {Notice[]}
 */
export function noticesOf({ error, remedies, notice }, full) {
  /** @type {Notice[]} */
  const found = [];
  if (error) found.push({ kind: "error", text: error, remedies });
  else if (full) found.push({ kind: "full", ...full });
  if (notice) found.push({ kind: "note", text: notice, remedies: [] });
  return found;
}

/**
 * @param {PanelModel} model
 * @param {() => State} state
 * @param {() => void} leave gives the focus to somebody else
 */
export function makeNotices(model, state, leave) {
  // Both are there from the beginning, so that what comes is read out.
  const alert = element("div", { role: "alert" });
  const status = element("div", { role: "status" });
  const node = element("div", { class: "mullama-notices" }, alert, status);
  let closed = ""; // what was closed here, until something else is told
  let shown = "";

  /** @param {Notice} notice */
  function draw({ kind, text, remedies }) {
    const close = button("×", "Close", () => {
      closed = text;
      if (kind !== "full") send(model, "dismiss");
      leave();
      update();
    });
    const help = remedies.map(({ label, action, arguments: args }) => {
      const onclick = () => {
        leave();
        send(model, action, args);
      };
      return element("button", { type: "button", onclick }, label);
    });
    const words = letKeysScroll(element("div", { class: "mullama-words" }, text));
    const actions = help.length ? element("div", { class: "mullama-buttons" }, help) : null;
    const body = element("div", {}, words, actions);
    return element("div", { class: `mullama-notice mullama-${kind}` }, body, close);
  }
  function update() {
    const traits = {
      error: model.get("error"),
      remedies: model.get("remedies"),
      notice: model.get("notice"),
    };
    const all = noticesOf(traits, state().footer.full);
    if (!all.some(({ text }) => text === closed)) closed = "";
    const open = all.filter(({ text }) => text !== closed);
    if (JSON.stringify(open) === shown) return; // a focused button stays the same
    shown = JSON.stringify(open);
    alert.replaceChildren(...open.filter(({ kind }) => kind === "error").map(draw));
    status.replaceChildren(...open.filter(({ kind }) => kind !== "error").map(draw));
  }
  /** What was closed has happened once more. */
  function reopen() {
    closed = "";
  }
  return { node, update, reopen };
}
