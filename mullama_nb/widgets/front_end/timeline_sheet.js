// @ts-check
// The sheet below the list: questions about a message, a comparison.

import { element } from "./dom.js";
import { activeElement } from "./focus.js";
import { plural } from "./format.js";
import { send } from "./kernel.js";

/** @import { Graph } from "./graph.js" */
/** @import { Timeline } from "./timeline_parts.js" */

/**
 * Where a checkpoint and the head part, and what each says from there.
 *
 * @typedef {object} Comparison
 * @property {string} id
 * @property {number} common tokens that both begin with
 * @property {Side[]} sides
 */

/**
 * One of the two: the first token of its own, if it goes on, and what is said from there on.
 *
 * @typedef {[name: string, token: string | null, probability: number | null, said: Said[]]} Side
 * @typedef {[who: string, shared: string, own: string]} Said
 */

export class Sheet {
  /** @param {Timeline} timeline */
  constructor(timeline) {
    this.timeline = timeline;
    this.node = element("div", { class: "mullama-sheet", hidden: true });
    this.close = this.close.bind(this);
    this.node.addEventListener("keydown", (event) => onKey(event, this.node, this.close));
    /** @type {string | null} */
    this.opener = null; // the checkpoint that it is about
    /** @type {string | null} */
    this.copying = null; // the checkpoint whose text was asked for
  }

  get isOpen() {
    return !this.node.hidden;
  }

  /**
   * @param {string} id
   * @param {string} role
   * @param {string} label
   * @param {(Node | null)[]} content
   */
  open(id, role, label, ...content) {
    const { node } = this;
    this.timeline.card.hide();
    this.opener = id;
    node.setAttribute("role", role);
    node.setAttribute("aria-label", label);
    node.replaceChildren(...content.filter((each) => each !== null));
    node.hidden = false;
    const first = /** @type {HTMLElement | null} */ (node.querySelector("input, button"));
    first?.focus({ preventScroll: true }); // what it says is read from its beginning on
    node.scrollIntoView({ block: "nearest" });
  }

  close() {
    if (!this.isOpen) return;
    const { node, opener, timeline } = this;
    const root = /** @type {Document | ShadowRoot} */ (node.getRootNode());
    const hadFocus = node.contains(root.activeElement);
    node.hidden = true;
    node.replaceChildren();
    if (hadFocus && opener && timeline.state().rows.has(opener)) timeline.rows.show(opener, true);
  }

  /** Copy the text of a message. @param {string} id */
  askForText(id) {
    this.copying = id;
    send(this.timeline.model, "look", { checkpoint: id });
  }

  /** @param {string} id */
  askTag(id) {
    const label = { "aria-label": "Name of the checkpoint", placeholder: "Name" };
    const name = element("input", { ...label, maxlength: 100 });
    const onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      const chosen = name.value.trim();
      this.close();
      if (chosen) send(this.timeline.model, "tag", { checkpoint: id, name: chosen });
    };
    const form = element(
      "form",
      { onsubmit },
      element("span", {}, "Tag this checkpoint"),
      name,
      element("button", { class: "mullama-main" }, "Tag"),
      element("button", { type: "button", onclick: this.close }, "Cancel"),
    );
    this.open(id, "dialog", "Tag a checkpoint", form);
  }

  /** @param {string} id */
  askPrune(id) {
    const { model, state } = this.timeline;
    const begin = state().ownBegin(id);
    const onclick = () => {
      this.close();
      send(model, "prune", { checkpoint: begin, force: true });
    };
    const cancel = element("button", { onclick: this.close }, "Cancel");
    this.open(
      id,
      "alertdialog",
      "Prune",
      element("span", {}, pruningQuestion(state(), begin)),
      element("button", { class: "mullama-danger", onclick }, "Prune"),
      cancel,
    );
    cancel.focus();
  }

  /** @param {Comparison} comparison */
  showComparison({ id, common, sides }) {
    const content = element(
      "div",
      { class: "mullama-comparison" },
      element("div", {}, `Both begin with the same ${plural(common, "token")}.`),
      element("div", { class: "mullama-sides" }, sides.map(drawSide)),
    );
    const done = element("button", { onclick: this.close }, "Close");
    this.open(id, "dialog", "Comparison with the head", content, done);
  }

  /** Copy a text that was asked for. @param {{ id: string, text: string }} card */
  copy({ id, text }) {
    if (id !== this.copying) return;
    navigator.clipboard?.writeText(text);
    this.copying = null;
  }

  /** Close what is about a checkpoint that is no more. */
  closeIfGone() {
    if (this.opener && !this.timeline.state().rows.has(this.opener)) this.close();
  }
}

/**
 * @param {KeyboardEvent} event
 * @param {HTMLElement} sheet
 * @param {() => void} close
 */
function onKey(event, sheet, close) {
  event.stopPropagation();
  if (event.key === "Escape") return close();
  const buttons = [...sheet.querySelectorAll("button")];
  const at = buttons.findIndex((button) => button === activeElement(sheet));
  const isBack = event.key === "ArrowUp" || event.key === "ArrowLeft";
  const isOn = event.key === "ArrowDown" || event.key === "ArrowRight";
  if (at < 0 || !(isBack || isOn)) return;
  event.preventDefault();
  buttons[(at + (isOn ? 1 : -1) + buttons.length) % buttons.length].focus();
}

/**
 * What pruning would take along, in words.
 *
 * @param {Graph} graph
 * @param {string} id
 */
function pruningQuestion(graph, id) {
  const lost = new Set(graph.subtree(id));
  const tags = Object.keys(graph.tags).filter((tag) => lost.has(graph.tags[tag]));
  const also = [
    tags.length ? `the ${tags.length === 1 ? "tag" : "tags"} ${tags.join(", ")}` : "",
    lost.has(graph.head) ? "the head, which moves to the parent" : "",
  ].filter(Boolean);
  const what = lost.size === 1 ? "this checkpoint" : plural(lost.size, "checkpoint");
  const rest = also.length ? `, with ${also.join(" and ")}` : "";
  return `Remove ${what}${rest}? This cannot be undone.`;
}

/** @param {Side} side */
function drawSide([name, token, probability, said]) {
  const first = token === null ? "ends here" : element("code", {}, token);
  const chance = probability === null ? "" : percent(probability);
  return element(
    "div",
    { class: "mullama-side" },
    element("div", { class: "mullama-side-head" }, element("strong", {}, name), first, chance),
    said.map(([who, shared, own]) =>
      element(
        "div",
        { class: "mullama-compared" },
        who ? element("span", { class: "who" }, who) : null,
        element(
          "div",
          { class: "mullama-card-text", tabindex: 0 },
          element("span", { class: "shared" }, shared),
          own,
        ),
      )
    ),
  );
}

/** @param {number} probability */
function percent(probability) {
  const least = 0.001;
  return probability < least ? "below 0.1 %" : `${(100 * probability).toFixed(1)} %`;
}
