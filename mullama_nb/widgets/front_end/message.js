// @ts-check
// One message with all that can be done with it.

import { makeCopy } from "./copying.js";
import { button, element } from "./dom.js";
import { send } from "./kernel.js";
import { makeEditor } from "./message_editor.js";
import { makeTokens } from "./message_tokens.js";
import { makeSaid } from "./said.js";

/** @import { Live } from "./live_answer.js" */
/** @import { PanelModel } from "./message_tokens.js" */
/** @import { Said } from "./said.js" */

/**
 * A message as the kernel sends it.
 *
 * @typedef {Said & Place} Message
 *
 * @typedef {object} Place
 * @property {string} id of the checkpoint where it ends, with a number if a later one ends there, too
 * @property {string} role
 * @property {string} name of a tool, for its result; often empty
 * @property {string} text
 * @property {boolean} tokens whether it can be looked into
 * @property {boolean} unfinished
 * @property {number} place among those in its place, counted from 1
 * @property {number} count how many are in its place
 * @property {string | null} before the version in front of it
 * @property {string | null} after the one behind it
 */

/** @type {Record<string, string>} */
export const NAMES = {
  user: "You",
  assistant: "Model",
  system: "System",
  developer: "Developer",
  tool: "Tool",
};

/**
 * Draw a message; it stays the same element for as long as it is shown.
 *
 * @param {PanelModel} model
 * @param {(role: string) => boolean} isAnswered whether the model answers what is edited
 */
export function drawMessage(model, isAnswered) {
  /** @type {Partial<Message>} */
  let message = {};
  /** @type {ReturnType<typeof makeEditor> | null} */
  let editor = null;
  /** @type {ReturnType<typeof makeTokens> & { of: object } | null} */
  let tokens = null;
  const role = element("div", { class: "mullama-role" });
  const said = makeSaid();
  const inside = element("div", { class: "mullama-inside" });
  const tools = makeTools(model, () => message, { edit: openEditor, isOpen });
  const node = element("article", {}, role, said.node, inside, tools.node);
  let isLive = false;

  /** Whether its tokens are shown. */
  function isOpen() {
    return message.id !== undefined && model.get("detail").id === message.id;
  }
  function openEditor() {
    editor ??= makeEditor(model, message, isAnswered(message.role ?? ""), closeEditor);
    refresh();
    editor.field.focus();
    return editor.field;
  }
  function closeEditor() {
    editor = null;
    refresh();
    tools.focusEdit();
  }
  function refresh() {
    const detail = model.get("detail");
    if (!isOpen() || isLive) tokens = null; // what grows is other tokens
    else if (tokens?.of !== detail) {
      tokens = { ...makeTokens(model, message.id ?? "", detail.tokens ?? []), of: detail };
    }
    const shown = editor ?? tokens;
    if (inside.firstChild !== (shown?.node ?? null)) {
      inside.replaceChildren(...(shown ? [shown.node] : []));
    }
    shown?.update();
    said.node.hidden = Boolean(shown);
    tools.refresh(isLive || editor !== null);
  }
  /** @param {Partial<Message>} next */
  function change(next) {
    role.replaceChildren(...nameSpeaker(next));
    node.className = `mullama-message mullama-${kindOf(next)}`;
    if (next.id) node.dataset.id = next.id;
    message = next;
    tools.change();
  }
  return {
    node,
    refresh,
    /** Have a reader write something else in its place. */
    replace: () => openEditor().select(),
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
     * @param {Live | null} [live] what is shown in its place while the answer streams
     */
    update(next, isLast, live = null) {
      if (next !== message) change(next);
      isLive = live !== null;
      if (live) said.stream(live);
      else said.show(next);
      node.setAttribute("aria-busy", String(isLive)); // a screen reader waits until it is whole
      tools.showUnfinished(Boolean(message.unfinished && isLast));
      refresh();
    },
  };
}

/** @param {Partial<Message>} message */
function kindOf({ role = "" }) {
  return role in NAMES ? role : "other";
}

/** @param {Partial<Message>} message @returns {(Node | string)[]} */
function nameSpeaker({ role = "", name }) {
  return [NAMES[role] ?? role, ...(name ? [element("code", {}, name)] : [])];
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
  const copy = makeCopy("Copy this message", () => message().text ?? "");
  const look = button("Tokens", "Show how likely each token was", lookInside);
  const unfinished = element("span", { class: "mullama-unfinished" }, "unfinished");
  const goOn = button("Continue", "Go on with this answer", () => send(model, "resume"));
  const attributes = { class: "mullama-tools", role: "group", "aria-label": "This message" };
  const versions = [before, place, after];
  const others = [copy, edit, again, look, unfinished, goOn];
  const node = element("div", attributes, ...versions, ...others);
  return {
    node,
    focusEdit: () => edit.focus(),
    /** Take in that the message is another one, or that something of it has changed. */
    change() {
      const { role, tokens, place: at, count } = message();
      place.textContent = `${at}/${count}`;
      before.hidden = place.hidden = after.hidden = !(count && count > 1);
      again.hidden = role !== "assistant";
      look.hidden = !tokens;
    },
    /** @param {boolean} is */
    showUnfinished(is) {
      unfinished.hidden = goOn.hidden = !is;
    },
    /** @param {boolean} isHidden */
    refresh(isHidden) {
      const { id } = message();
      node.hidden = id === undefined || isHidden;
      look.setAttribute("aria-pressed", String(hooks.isOpen()));
      before.disabled = !message().before;
      after.disabled = !message().after;
      again.disabled = look.disabled = goOn.disabled = model.get("is_busy");
    },
  };
}
