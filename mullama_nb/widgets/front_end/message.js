// @ts-check
// One message with all that can be done with it.

import { button, element, renew } from "./dom.js";
import { send } from "./kernel.js";
import { makeEditor } from "./message_editor.js";
import { makeTokens } from "./message_tokens.js";

/** @import { PanelModel } from "./message_tokens.js" */

/**
 * A message as the kernel sends it.
 *
 * @typedef {object} Message
 * @property {string} id of the checkpoint where it ends
 * @property {string} role
 * @property {string} html its text, rendered and cleaned
 * @property {string} text
 * @property {boolean} tokens whether it can be looked into
 * @property {boolean} unfinished
 * @property {number} place among those in its place, counted from 1
 * @property {number} count how many are in its place
 * @property {string | null} before the version in front of it
 * @property {string | null} after the one behind it
 */

/** @type {Record<string, string>} */
export const NAMES = { user: "You", assistant: "Model", system: "System", tool: "Tool" };

/**
 * Draw a message; it stays the same element for as long as it is shown.
 *
 * @param {PanelModel} model
 */
export function drawMessage(model) {
  /** @type {Partial<Message>} */
  let message = {};
  /** @type {ReturnType<typeof makeEditor> | null} */
  let editor = null;
  /** @type {ReturnType<typeof makeTokens> & { of: object } | null} */
  let tokens = null;
  const role = element("div", { class: "mullama-role" });
  const content = element("div", { class: "mullama-text" });
  const inside = element("div", { class: "mullama-inside" });
  const tools = makeTools(model, () => message, { edit: openEditor, isOpen });
  const node = element("article", { class: "mullama-message" }, role, content, inside, tools.node);

  /** Whether its tokens are shown. */
  function isOpen() {
    return message.id !== undefined && model.get("detail").id === message.id;
  }
  function openEditor() {
    if (editor) return editor.field.focus();
    editor = makeEditor(model, { id: message.id ?? "", text: message.text ?? "" }, () => {
      editor = null;
      refresh();
      tools.focusEdit();
    });
    refresh();
    editor.field.focus();
  }
  function refresh() {
    const detail = model.get("detail");
    if (!isOpen()) tokens = null;
    else if (tokens?.of !== detail) {
      tokens = { ...makeTokens(model, message.id ?? "", detail.tokens ?? []), of: detail };
    }
    const shown = editor ?? tokens;
    if (inside.firstChild !== (shown?.node ?? null)) {
      inside.replaceChildren(...(shown ? [shown.node] : []));
    }
    shown?.update();
    content.hidden = Boolean(shown);
    tools.refresh(editor !== null);
  }
  /** @param {Partial<Message>} next */
  function change(next) {
    if (next.html !== message.html) renew(content, next.html ?? "");
    role.textContent = NAMES[next.role ?? ""] ?? next.role;
    node.className = `mullama-message mullama-${next.role === "user" ? "user" : "other"}`;
    if (next.id) {
      node.dataset.id = next.id;
      node.removeAttribute("aria-busy");
    } else node.setAttribute("aria-busy", "true"); // a screen reader waits until it is whole
    message = next;
    tools.change();
  }
  return {
    node,
    refresh,
    get id() {
      return message.id;
    },
    get isEdited() {
      return editor !== null;
    },
    /**
     * Show a message; one without an id is still on its way.
     *
     * @param {Partial<Message>} next
     * @param {boolean} isLast
     */
    update(next, isLast) {
      if (next !== message) change(next);
      tools.showUnfinished(Boolean(message.unfinished && isLast));
      refresh();
    },
  };
}

/**
 * The buttons below a message.
 *
 * @param {PanelModel} model
 * @param {() => Partial<Message>} message
 * @param {{ edit: () => void, isOpen: () => boolean }} hooks
 */
function makeTools(model, message, hooks) {
  /**
   * @param {string} action
   * @param {string | null} [checkpoint]
   */
  const ask = (action, checkpoint = message().id) => {
    if (checkpoint) send(model, action, { checkpoint });
  };
  const lookInside = () => hooks.isOpen() ? send(model, "close") : ask("tokens");
  const before = button("‹", "Previous version", () => ask("show", message().before));
  const place = element("span", { class: "mullama-count" });
  const after = button("›", "Next version", () => ask("show", message().after));
  const edit = button("Edit", "Edit this message", hooks.edit);
  const again = button("Regenerate", "Another answer", () => ask("regenerate"));
  const look = button("Tokens", "Show how likely each token was", lookInside);
  const unfinished = element("span", { class: "mullama-unfinished" }, "unfinished");
  const goOn = button("Continue", "Go on with this answer", () => send(model, "resume"));
  const attributes = { class: "mullama-tools", role: "group", "aria-label": "This message" };
  const versions = [before, place, after];
  const others = [edit, again, look, unfinished, goOn];
  const node = element("div", attributes, ...versions, ...others);
  return {
    node,
    focusEdit: () => edit.focus(),
    /** Take in that the message is another one, or that something of it has changed. */
    change() {
      const { role, tokens, place: at, count } = message();
      place.textContent = `${at}/${count}`;
      before.hidden = place.hidden = after.hidden = !(count && count > 1);
      edit.hidden = role === "system";
      again.hidden = role !== "assistant";
      look.hidden = !tokens;
    },
    /** @param {boolean} is */
    showUnfinished(is) {
      unfinished.hidden = goOn.hidden = !is;
    },
    /** @param {boolean} isEdited */
    refresh(isEdited) {
      const { id } = message();
      node.hidden = id === undefined || isEdited;
      look.setAttribute("aria-pressed", String(hooks.isOpen()));
      before.disabled = !message().before;
      after.disabled = !message().after;
      again.disabled = look.disabled = goOn.disabled = model.get("is_busy");
    },
  };
}
