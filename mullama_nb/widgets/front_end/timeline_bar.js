// @ts-check
// The bar above the list: search, and a fold of all that the head does not need.

import { element } from "./dom.js";

/** @import { Graph } from "./graph.js" */
/** @import { Timeline } from "./timeline_parts.js" */

/** @param {Timeline} timeline */
export function makeBar(timeline) {
  const { state } = timeline;
  const search = element("input", {
    type: "search",
    placeholder: "Search",
    "aria-label": "Search the checkpoints",
    oninput: () => find(0),
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter") find(1);
    },
  });
  const hits = element("span", { class: "mullama-hits", "aria-live": "polite" });
  const title = "Fold every other branch";
  const onclick = () => {
    setOnPath(!isOnPath);
    state().focusPath(isOnPath);
    timeline.rows.show(state().head);
  };
  const zoom = element("button", { "aria-pressed": "false", title, onclick }, "Active path");
  let isOnPath = false;

  /** @param {boolean} is */
  function setOnPath(is) {
    isOnPath = is;
    zoom.setAttribute("aria-pressed", String(is));
  }

  /** Go to a checkpoint with the words, the first or that many further on. @param {number} step */
  function find(step) {
    const words = search.value.trim().toLowerCase();
    const found = words ? findWords(state(), words) : [];
    const now = timeline.focused === null ? -1 : found.indexOf(timeline.focused);
    const at = now < 0 ? 0 : (now + step) % found.length;
    hits.textContent = words ? (found.length ? `${at + 1}/${found.length}` : "none") : "";
    if (found.length) timeline.rows.show(found[at]);
  }

  return {
    node: element("div", { class: "mullama-bar" }, search, hits, zoom),
    /** Branches may have been unfolded since. */
    update() {
      if (isOnPath && !state().folded.size) setOnPath(false);
    },
  };
}

/**
 * Checkpoints whose text or tag has some words.
 *
 * @param {Graph} graph
 * @param {string} words in lower case
 */
function findWords(graph, words) {
  const tags = Object.keys(graph.tags).filter((tag) => tag.toLowerCase().includes(words));
  const tagged = new Set(tags.map((tag) => graph.tags[tag]));
  const rows = [...graph.rows.values()];
  const found = rows.filter(({ id, text }) => tagged.has(id) || text.toLowerCase().includes(words));
  return found.map(({ id }) => id);
}
