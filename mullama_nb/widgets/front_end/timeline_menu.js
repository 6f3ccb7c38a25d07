// @ts-check
// The menu of a row, where the pointer is: what it is about, what can be done, and by which keys.

import { float, placeAt, sink } from "./afloat.js";
import { element } from "./dom.js";
import { send } from "./kernel.js";

/** @import { Timeline } from "./timeline_parts.js" */

/**
 * @typedef {object} Item
 * @property {string} words
 * @property {string} key as `KeyboardEvent.key` has it
 * @property {string} shown how the key is written
 * @property {() => unknown} act
 * @property {string} [off] why it cannot be done
 */

/**
 * What can be done with a message.
 *
 * @param {Timeline} timeline
 * @param {string} id
 * @returns {Item[]}
 */
export function itemsOf(timeline, id) {
  const { model, sheet, state } = timeline;
  const ask = (/** @type {string} */ action) => () => send(model, action, { checkpoint: id });
  const isHead = id === state().head ? "The head is here." : "";
  const isRoot = state().rows.get(id)?.parent ? "" : "The root has to stay.";
  return [
    { words: "Go here", key: "Enter", shown: "Enter", act: ask("checkout"), off: isHead },
    { words: "Fork here", key: "f", shown: "F", act: ask("fork") },
    { words: "Tag…", key: "t", shown: "T", act: () => sheet.askTag(id) },
    { words: "Compare with head", key: "c", shown: "C", act: ask("compare"), off: isHead },
    {
      words: "Copy text",
      key: "y",
      shown: "Y",
      act: () => sheet.askForText(id),
      off: isRoot && "The root has no text.",
    },
    { words: "Prune…", key: "Delete", shown: "Del", act: () => sheet.askPrune(id), off: isRoot },
  ];
}

export class Menu {
  /** @param {Timeline} timeline */
  constructor(timeline) {
    this.timeline = timeline;
    this.about = element("div", { class: "mullama-menu-about" });
    this.list = element("div", { role: "menu", "aria-label": "What to do with this message" });
    this.node = element(
      "div",
      { class: "mullama-menu", popover: "manual", hidden: true },
      this.about,
      this.list,
    );
    /** @type {string | null} */
    this.opener = null; // the row that it is about
    this.node.addEventListener("keydown", (event) => this.onKey(event));
    this.node.addEventListener("contextmenu", (event) => {
      event.preventDefault();
      event.stopPropagation();
    });
    this.node.addEventListener("focusout", ({ relatedTarget }) => {
      if (this.isOpen && !this.node.contains(/** @type {Node | null} */ (relatedTarget))) {
        this.close();
      }
    });
    /** @param {Event} event */
    this.leave = (event) => {
      if (!event.composedPath().includes(this.node)) this.close();
    };
  }

  get isOpen() {
    return !this.node.hidden;
  }

  /**
   * @param {string} id
   * @param {MouseEvent} [event] opened it, where the pointer is; else it opens at the row
   */
  open(id, event) {
    const { timeline, node } = this;
    const row = timeline.state().rows.get(id);
    if (!row) return;
    timeline.card.hide();
    timeline.sheet.close();
    this.opener = id;
    timeline.rows.show(id);
    const who = element("strong", {}, row.role || (row.parent ? "" : "root"));
    this.about.replaceChildren(who, row.parent ? row.text : "");
    this.list.replaceChildren(...itemsOf(timeline, id).map((item) => this.drawItem(item)));
    float(node);
    const box = timeline.rows.nodeOf(id)?.getBoundingClientRect();
    if (event?.clientX || event?.clientY) placeAt(node, event.clientX, event.clientY);
    else if (box) placeAt(node, box.left + 32, box.bottom);
    addEventListener("pointerdown", this.leave, true);
    addEventListener("wheel", this.leave, { capture: true, passive: true });
    this.enabled()[0]?.focus({ preventScroll: true });
  }

  enabled() {
    const items = [...this.list.querySelectorAll("button")];
    return items.filter((item) => item.getAttribute("aria-disabled") !== "true");
  }

  close(back = false) {
    if (!this.isOpen) return;
    removeEventListener("pointerdown", this.leave, true);
    removeEventListener("wheel", this.leave, true);
    sink(this.node);
    const { opener, timeline } = this;
    if (back && opener && timeline.state().rows.has(opener)) timeline.rows.show(opener, true);
  }

  /** @param {Item} item */
  drawItem({ words, shown, act, off = "" }) {
    const onclick = () => {
      if (off) return;
      this.close(true);
      act();
    };
    const is = { "aria-disabled": off ? "true" : null, title: off || null };
    return element(
      "button",
      { type: "button", role: "menuitem", tabindex: -1, ...is, onclick },
      element("span", {}, words),
      element("kbd", { "aria-hidden": "true" }, off || shown),
    );
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const items = this.enabled();
    const at = items.findIndex((item) => item === event.target);
    const go = (/** @type {number} */ to) => items[(to + items.length) % items.length]?.focus();
    /** @type {Record<string, () => unknown>} */
    const moves = {
      ArrowDown: () => go(at + 1),
      ArrowUp: () => go(at - 1),
      Home: () => go(0),
      End: () => go(-1),
      Escape: () => this.close(true),
      Tab: () => this.close(true),
    };
    const known = this.opener ? itemsOf(this.timeline, this.opener) : [];
    const item = known.find(({ key, off }) => key !== "Enter" && key === event.key && !off);
    if (!moves[event.key] && !item) return;
    event.preventDefault();
    event.stopPropagation();
    if (moves[event.key]) return moves[event.key]();
    this.close(true);
    item?.act();
  }

  /** Close what is about a checkpoint that is no more. */
  closeIfGone() {
    if (this.opener && !this.timeline.state().rows.has(this.opener)) this.close();
  }
}
