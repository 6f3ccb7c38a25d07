// @ts-check
// The box to write in, with one button that is Send or Stop, below what there is to tell.

import { element, onEnter } from "./dom.js";
import { send, stop } from "./kernel.js";
import { makeNotices } from "./notices.js";

/** @import { State } from "./chat_panel.js" */
/** @import { PanelModel } from "./message_tokens.js" */

const GUARD = 600; // ms in which a press that was meant for Stop does not send
const GROWS = globalThis.CSS?.supports?.("field-sizing", "content"); // by itself

/**
 * Whether there is something to stop, here or in a cell.
 *
 * @param {Pick<State, "live" | "progress">} state
 * @param {{ is_busy: boolean, in_cell: boolean }} traits
 */
export function isRunning({ live, progress }, { is_busy, in_cell }) {
  return Boolean(is_busy || in_cell || live || progress);
}

/**
 * @param {PanelModel} model
 * @param {() => State} state
 * @param {HTMLElement} progress
 * @param {{ onSend: () => void, onType: (text: string) => void }} hears what the others do
 */
export function makeComposer(model, state, progress, { onSend, onType }) {
  const notices = makeNotices(model, state, () => box.focus());
  const name = { "aria-label": "Message", placeholder: "Write a message" };
  const box = onEnter(element("textarea", { rows: 1, ...name }), submit);
  const attributes = { type: "button", class: "mullama-main", onclick: press };
  const button = element("button", attributes, "Send");
  box.addEventListener("input", () => {
    guarded = 0;
    typed();
  });
  button.addEventListener("pointerleave", () => {
    guarded = 0;
  });
  let sent = "";
  let stops = false; // what the button does now
  let guarded = 0; // until when it does nothing, as it has just become another one

  function press() {
    if (stops) return halt();
    if (performance.now() > guarded) submit();
  }
  function submit() {
    const text = box.value.trim();
    if (!text || model.get("is_busy")) return;
    send(model, "ask", { text });
    sent = text;
    box.value = "";
    onSend();
    typed();
  }
  function halt() {
    stop(model);
    box.focus();
  }
  function typed() {
    if (!GROWS) {
      box.style.height = "auto";
      box.style.height = `${box.scrollHeight + 2}px`; // and its border
    }
    onType(box.value.trim());
    fit();
  }
  function fit() {
    const traits = { is_busy: model.get("is_busy"), in_cell: model.get("in_cell") };
    const runs = isRunning(state(), traits);
    const hasFocus = button.matches(":focus");
    if (stops && !runs && (hasFocus || button.matches(":hover"))) {
      guarded = performance.now() + GUARD;
    }
    stops = runs;
    const label = stops ? "Stop" : "Send";
    if (button.textContent !== label) button.textContent = label;
    button.title = stops ? "Stop the answer; what is there stays" : "Send (Enter)";
    button.classList.toggle("mullama-stops", stops);
    button.disabled = !stops && !box.value.trim();
    if (hasFocus && button.disabled) box.focus(); // else the page would have it
  }
  function refresh() {
    notices.update();
    fit();
  }
  /** What was not said, because of an error, goes back into the box. */
  function fail() {
    notices.reopen();
    giveBack();
  }
  function giveBack() {
    if (model.get("error") && sent) {
      const said = state().messages.findLast(({ role }) => role === "user")?.text;
      if (!box.value && said !== sent) box.value = sent;
      sent = "";
      typed();
    }
    notices.update();
  }
  const field = element("div", { class: "mullama-write" }, box, button);
  const node = element("div", { class: "mullama-composer" }, progress, notices.node, field);
  return { node, box, refresh, giveBack, fail };
}
