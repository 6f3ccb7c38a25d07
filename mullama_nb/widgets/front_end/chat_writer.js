// @ts-check
// The box to write in, with Send and Stop.

import { element, onEnter } from "./dom.js";
import { send, stop } from "./kernel.js";

/** @import { State } from "./chat_panel.js" */
/** @import { PanelModel } from "./message_tokens.js" */

/**
 * @param {PanelModel} model
 * @param {() => State} state
 * @param {HTMLElement} progress
 * @param {() => void} onSend
 */
export function makeWriter(model, state, progress, onSend) {
  const name = { "aria-label": "Message", placeholder: "Write a message" };
  const box = onEnter(element("textarea", { rows: 1, ...name }), submit);
  const main = { type: "button", class: "mullama-main", onclick: submit };
  const sendButton = element("button", main, "Send");
  const stopButton = element("button", { type: "button", onclick: halt }, "Stop");
  box.addEventListener("input", fit);
  let sent = "";

  function submit() {
    const text = box.value.trim();
    if (!text || model.get("is_busy")) return;
    send(model, "ask", { text });
    sent = text;
    box.value = "";
    onSend();
    fit();
  }
  function halt() {
    stop(model);
    box.focus();
  }
  function fit() {
    const isBusy = model.get("is_busy");
    const { live, progress } = state();
    sendButton.disabled = !box.value.trim() || isBusy;
    stopButton.disabled = !(isBusy || model.get("in_cell") || live || progress);
  }
  /** What was not said, because of an error, goes back into the box. */
  function giveBack() {
    if (!model.get("error") || !sent) return;
    const said = state().messages.findLast(({ role }) => role === "user")?.text;
    if (!box.value && said !== sent) box.value = sent;
    sent = "";
    fit();
  }
  const attributes = { class: "mullama-write" };
  const node = element("div", attributes, progress, box, sendButton, stopButton);
  return { node, box, fit, giveBack };
}
