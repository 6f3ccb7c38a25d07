// @ts-check
// The candidates of one step, in words: those that are left, those that it took away.

import { element } from "./dom.js";
import { count, percent } from "./format.js";

/** @import { Bar, Found } from "./funnel.js" */

const MOST = 12; // of each kind

/**
 * @param {Found} found
 * @param {Bar} bar
 * @param {number} at its index
 */
export function listCandidates(found, [, , n, before, segments, removed], at) {
  const isDraw = found.draw !== null && at === found.bars.length - 1;
  const shares = segments.map(([token, text, low, high]) => {
    return { text, share: high - low, isChosen: token === found.token };
  });
  if (isDraw) shares.sort((a, b) => b.share - a.share);
  const nGone = before === null || n === null ? removed.length : before - n;
  const gone = removed.map(([text, share]) => ({ text, share, isChosen: false }));
  return [
    ...(isDraw ? [drawInWords(found)] : []),
    ...drawList(
      isDraw ? "Stretches of the bar" : at ? "Candidates left" : "Candidates",
      shares,
      n,
      "",
    ),
    ...drawList("Taken away", gone, nGone, "gone"),
  ];
}

/** @param {Found} found */
function drawInWords({ text, token, bars, draw }) {
  const mine = bars[bars.length - 1][4].find((segment) => segment[0] === token);
  const [number, next, nextText] = draw ?? [0, 0, ""];
  const piece = (/** @type {string} */ said) => element("bdi", { class: "piece" }, said);
  const [low, high] = mine ? [mine[2], mine[3]] : [0, 1];
  const falls = bars[bars.length - 1][4].find((segment) => next >= segment[2] && next < segment[3]);
  const isOther = falls !== undefined && falls[1] !== nextText;
  const following = nextText === null
    ? [", and XTC leaves nothing then that continues the grammar."]
    : [
      ": ",
      piece(nextText),
      isOther ? ", as XTC or a grammar leaves other candidates then." : ".",
    ];
  return element(
    "p",
    {},
    `${number.toFixed(4)} lies between ${low.toFixed(4)} and ${high.toFixed(4)}, which draws `,
    piece(text),
    `. The next answer would draw ${next.toFixed(4)} here`,
    ...following,
  );
}

/**
 * @param {string} title
 * @param {{ text: string, share: number, isChosen: boolean }[]} candidates
 * @param {number | null} n how many there are
 * @param {string} kind
 */
function drawList(title, candidates, n, kind) {
  if (!candidates.length) return [];
  const shown = candidates.slice(0, MOST);
  const items = shown.map(({ text, share, isChosen }) =>
    element(
      "li",
      { style: `--share: ${100 * share}%`, class: isChosen ? "chosen" : "" },
      element("bdi", { class: "piece" }, text),
      element("span", {}, percent(share)),
    )
  );
  const more = (n ?? candidates.length) - shown.length;
  if (more > 0) items.push(element("li", { class: "more" }, `and ${count(more)} more`));
  const name = n === null ? title : `${title} (${count(n)})`;
  return [
    element("div", { class: "title" }, name),
    element("ul", { class: kind, "aria-label": name }, items),
  ];
}
