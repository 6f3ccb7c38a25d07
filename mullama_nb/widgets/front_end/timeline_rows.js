// @ts-check
// The list of rows: only those near the screen have elements.

import { element } from "./dom.js";
import { activeElement } from "./focus.js";
import { LIVE } from "./graph.js";
import { ROW } from "./timeline_parts.js";
import { widthFor } from "./timeline_picture.js";
import { drawRow, gatherFacts } from "./timeline_row.js";

/** @import { Graph } from "./graph.js" */
/** @import { Place } from "./lanes.js" */
/** @import { Timeline } from "./timeline_parts.js" */

const ABOVE = 5, BELOW = 5; // rows that are ready beside those on the screen
const HEIGHT = 400; // before the list is on the page

export class Rows {
  /** @param {Timeline} timeline */
  constructor(timeline) {
    this.timeline = timeline;
    /** @type {Map<string, { node: HTMLElement, key: string }>} */
    this.shown = new Map(); // elements, with what they were made from
    this.node = element("div", {
      class: "mullama-rows",
      role: "tree",
      "aria-label": "Checkpoints",
    });
    this.canvas = element("div", { class: "mullama-canvas" });
    this.node.append(this.canvas);
    this.node.addEventListener("scroll", () => {
      timeline.card.move();
      this.paint();
    });
    this.isPlaced = false; // the list has no height before it is on the page
    this.observer = new ResizeObserver(() => {
      if (this.node.clientHeight && !this.isPlaced) {
        this.isPlaced = true;
        this.goToEnd();
      }
      this.paint();
    });
    this.observer.observe(this.node);
  }

  paint() {
    const graph = this.timeline.state();
    const from = Math.max(0, Math.floor(this.node.scrollTop / ROW) - ABOVE);
    const n = Math.ceil((this.node.clientHeight || HEIGHT) / ROW) + ABOVE + BELOW;
    const places = graph.order.slice(from, from + n);
    const { canvas } = this;
    canvas.style.height = `${graph.order.length * ROW}px`;
    this.draw(graph, places, from);
    this.removeOthers(new Set(places.map(({ id }) => id)));
    // In the order of the tree, as who has it read aloud expects; what is in place stays untouched.
    places.forEach(({ id }, i) => {
      const node = /** @type {HTMLElement} */ (this.nodeOf(id));
      if (canvas.children[i] !== node) canvas.insertBefore(node, canvas.children[i] ?? null);
    });
  }

  /**
   * Have an element for each of these places; what it shows already stays untouched.
   *
   * @param {Graph} graph
   * @param {Place[]} places
   * @param {number} from the row of the first
   */
  draw(graph, places, from) {
    const { timeline, shown } = this;
    const width = widthFor(Math.max(0, ...places.map(({ lane }) => lane)));
    const tags = tagsById(graph);
    const focused = timeline.focused ?? "";
    const stop = graph.place.has(focused) ? focused : graph.headRow;
    places.forEach((place, i) => {
      const facts = gatherFacts(graph, place, width, tags.get(place.id) ?? [], timeline.hits);
      const key = JSON.stringify(facts);
      const old = shown.get(place.id);
      const node = old?.key === key ? old.node : drawRow(timeline, facts);
      if (old && node !== old.node) {
        if (old.node.contains(activeElement(old.node))) {
          queueMicrotask(() => node.focus({ preventScroll: true }));
        }
        old.node.replaceWith(node);
      }
      shown.set(place.id, { node, key });
      const top = `${(from + i) * ROW}px`;
      if (node.style.top !== top) node.style.top = top;
      node.tabIndex = place.id === stop ? 0 : -1;
    });
  }

  /** @param {Set<string>} kept */
  removeOthers(kept) {
    for (const [id, { node }] of this.shown) {
      if (kept.has(id)) continue;
      node.remove();
      this.shown.delete(id);
    }
  }

  /**
   * Bring a checkpoint onto the screen, whatever hides it.
   *
   * @param {string} id
   * @param {boolean} [focus]
   */
  show(id, focus = false) {
    const { node, timeline } = this;
    const graph = timeline.state();
    graph.reveal(id);
    id = timeline.focused = graph.rowOf(id);
    const top = (graph.place.get(id) ?? 0) * ROW;
    const isSeen = top >= node.scrollTop && top + ROW <= node.scrollTop + node.clientHeight;
    if (!isSeen) node.scrollTop = top - node.clientHeight / 2;
    this.paint();
    if (focus) this.nodeOf(id)?.focus({ preventScroll: true });
  }

  /** How far the list has to be scrolled for what is new: what grows, or the head. */
  scrollForEnd() {
    const graph = this.timeline.state();
    const at = graph.place.get(graph.live ? LIVE : graph.headRow) ?? -1;
    return (at + 1) * ROW - this.node.clientHeight;
  }

  goToEnd() {
    const bottom = this.scrollForEnd();
    this.node.scrollTop = Math.max(0, bottom + (bottom > 0 ? this.node.clientHeight / 2 : 0));
  }

  /** Keep what is new in sight of a reader who looks at the end of it. */
  follow() {
    const bottom = this.scrollForEnd();
    const { scrollTop } = this.node;
    if (bottom > scrollTop && bottom - scrollTop < 3 * ROW) this.node.scrollTop = bottom;
  }

  /** @param {string} id */
  nodeOf(id) {
    return this.shown.get(id)?.node;
  }

  destroy() {
    this.observer.disconnect();
  }
}

/** @param {Graph} graph */
function tagsById(graph) {
  /** @type {Map<string, string[]>} */
  const tags = new Map();
  for (const [tag, id] of Object.entries(graph.tags)) {
    if (!graph.rows.has(id)) continue;
    const row = graph.rowOf(id);
    tags.set(row, [...(tags.get(row) ?? []), tag]);
  }
  return tags;
}
