// @ts-check
// The bar above the list: search, and a fold of all that the head does not need; the legend below.

import { element } from "./dom.js";

import { drawLegend } from "./timeline_picture.js";

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
  const legend = element("div", { class: "mullama-legend" });
  const zoom = element("button", { "aria-pressed": "false", title, onclick }, "Active path");
  let isOnPath = false;

  /** @param {boolean} is */
  function setOnPath(is) {
    isOnPath = is;
    zoom.setAttribute("aria-pressed", String(is));
  }

  /** Go to a checkpoint with the words, the first or that many further on. @param {number} step */
  function find(step) {
    const found = refresh();
    const now = timeline.focused === null ? -1 : found.indexOf(timeline.focused);
    const at = now < 0 ? 0 : (now + step) % found.length;
    if (timeline.hits) hits.textContent = found.length ? `${at + 1}/${found.length}` : "none";
    if (found.length) timeline.rows.show(found[at]);
    else timeline.rows.paint();
  }

  /** Find what a search goes for, in what there is now. */
  function refresh() {
    const words = search.value.trim().toLowerCase();
    const found = words ? findWords(state(), words) : [];
    timeline.hits = words ? new Set(found) : null;
    if (!words) hits.textContent = "";
    return found;
  }

  return {
    node: element("div", { class: "mullama-bar" }, search, hits, zoom),
    legend,
    /** Branches may have been unfolded since. */
    update() {
      if (isOnPath && !state().folded.size) setOnPath(false);
      refresh();
      const signs = drawLegend(signsOf(state()));
      legend.hidden = !signs.length;
      legend.replaceChildren(...signs);
    },
  };
}

/**
 * Rows whose text, speaker or tag has some words, from top to bottom.
 *
 * @param {Graph} graph
 * @param {string} words in lower case
 */
function findWords(graph, words) {
  const tags = Object.keys(graph.tags).filter((tag) => tag.toLowerCase().includes(words));
  const known = tags.map((tag) => graph.tags[tag]).filter((id) => graph.rows.has(id));
  const tagged = new Set(known.map((id) => graph.rowOf(id)));
  const rows = [...graph.rows.values()].filter(({ id }) => graph.hasRow(id));
  const found = rows.filter(({ id, text }) => tagged.has(id) || text.toLowerCase().includes(words));
  return found.map(({ id }) => id);
}

/** Which signs a tree has that a legend explains. @param {Graph} graph */
function signsOf(graph) {
  const has = { unfinished: graph.live !== null, spilled: false, forked: false };
  for (const { id } of graph.order) {
    const row = graph.rows.get(id);
    has.unfinished ||= row?.isUnfinished ?? false;
    has.spilled ||= row?.isSpilled ?? false;
    has.forked ||= graph.sharedTokens(id) > 0;
  }
  return has;
}
