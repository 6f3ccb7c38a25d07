// @ts-check
// What tests ask of the timeline's graph.

import { Graph } from "../../mullama_nb/widgets/front_end/graph.js";
import { apply } from "../../mullama_nb/widgets/front_end/timeline.js";

/** @import { Change, Snapshot } from "../../mullama_nb/widgets/front_end/graph.js" */

/** @param {Graph} graph */
function laidOut(graph) {
  return graph.order.map(({ id, lane, lines }) => [
    id,
    lane,
    lines.map((line) => line.lane),
    graph.active.has(id),
    graph.tokensOf(graph.parts(id)),
    graph.sharedTokens(id),
  ]);
}

/**
 * The rows with their lanes, at first and after each change.
 *
 * @param {Snapshot} snapshot
 * @param {(Change & { all?: Snapshot })[]} changes
 */
export function rowsAfter(snapshot, changes) {
  let graph = new Graph(snapshot);
  const rows = [laidOut(graph)];
  for (const change of changes) {
    graph = apply(graph, change);
    rows.push(laidOut(graph));
  }
  return rows;
}

/**
 * What the row of an answer that grows says after some changes, and how many tokens it counts.
 *
 * @param {Snapshot} snapshot
 * @param {(Change & { all?: Snapshot })[]} changes
 */
export function liveAfter(snapshot, changes) {
  const { live } = changes.reduce(apply, new Graph(snapshot));
  return live && [live.text, live.tokens];
}

/**
 * What each row of an answer that is explored says after each change, with its question.
 *
 * @param {Snapshot} snapshot
 * @param {(Change & { all?: Snapshot })[]} changes
 */
export function exploredAfter(snapshot, changes) {
  let graph = new Graph(snapshot);
  return changes.map((change) => {
    graph = apply(graph, change);
    return [...graph.explored].map(([question, rows]) => [
      question,
      rows.map(({ text, tokens }) => [text, tokens]),
    ]);
  });
}

/**
 * What is wrong with a graph after each of some steps; nothing, if the graph is right.
 *
 * @param {Snapshot} snapshot
 * @param {[name: "fold" | "unfold" | "focus" | "show" | "apply", argument: any][]} steps
 */
export function faultsAfter(snapshot, steps) {
  const graph = new Graph(snapshot);
  const faults = [];
  for (const [name, argument] of steps) {
    if (name === "fold" || name === "unfold") graph.fold(argument, name === "fold");
    else if (name === "focus") graph.focusPath(argument);
    else if (name === "show") graph.reveal(argument);
    else graph.apply(argument);
    faults.push(...faultsOf(graph).map((fault) => `${fault} after ${name}`));
    if (name === "show" && graph.rows.has(argument) && !graph.place.has(argument)) {
      faults.push(`${argument} is hidden`);
    }
  }
  return faults;
}

/** @param {Graph} graph */
function faultsOf(graph) {
  const faults = [];
  const places = () => graph.order.map(({ id }) => graph.place.get(id));
  const picture = () => JSON.stringify([laidOut(graph), places(), graph.place.size]);
  const before = picture();
  graph.arrange(); // from the beginning, as after a snapshot
  if (picture() !== before) faults.push("rows are out of place");
  const hidden = [...graph.folded].flatMap((id) => graph.subtree(id).slice(1));
  const n = graph.order.length + new Set(hidden).size;
  if (n !== graph.rows.size) faults.push(`${n} of ${graph.rows.size} rows are there`);
  if (!graph.place.has(graph.head)) faults.push("the head is hidden");
  return faults;
}
