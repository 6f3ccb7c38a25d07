// @ts-check
// What each layer would have said next, the last layer first.

import { element } from "./dom.js";
import { percent } from "./format.js";
import { byItself } from "./lens_words.js";

/** @import { Guess, Look, State } from "./lens.js" */

const WHAT = "What would come next, if the model ended after so many layers";

export function makeGuesses() {
  const body = element("tbody");
  const heads = [
    element("th", { scope: "col" }, "layers"),
    element("th", { scope: "colgroup", colspan: 5 }, "guesses"),
  ];
  const table = element(
    "table",
    {},
    element("caption", {}, WHAT),
    element("thead", {}, element("tr", {}, ...heads)),
    body,
  );
  const named = { role: "group", "aria-label": "Guesses", tabindex: 0 }; // so that keys scroll it
  const scroller = element("div", { class: "scroller", ...named, onkeydown: scroll }, table);
  const words = element("div", { class: "mullama-hint" });
  const node = element("div", { class: "guesses" }, scroller, words);

  /** Keep the keys that scroll from the notebook. @param {KeyboardEvent} event */
  function scroll(event) {
    if (/^(Arrow|Page|Home$|End$)/.test(event.key)) event.stopPropagation();
  }
  /** @param {State} state */
  function update({ look, pieces }) {
    node.hidden = !look;
    if (!look) return;
    const { guesses, fault, position } = look;
    scroller.hidden = !guesses.length;
    words.textContent = fault || inWords(look, pieces);
    const next = pieces[position + 1] && byItself(pieces[position + 1]);
    body.replaceChildren(...guesses.map((row, n) => drawRow(row, n, look, next)).reverse());
  }
  return { node, update };
}

/**
 * @param {Look} look
 * @param {string[]} pieces
 */
function inWords({ guesses, settles, position }, pieces) {
  const last = guesses.length - 1;
  const [, text] = guesses[last][0];
  const from = settles ? `after ${settles} of ${last} layers` : "from the beginning";
  const next = pieces[position + 1];
  const follows = next === undefined ? "" : ` The conversation goes on with “${byItself(next)}”.`;
  return `“${text}” is the first guess ${from}, and stays it.${follows}`;
}

/**
 * @param {Guess[]} row
 * @param {number} n
 * @param {Look} look
 * @param {string | undefined} next
 */
function drawRow(row, n, { guesses, settles }, next) {
  const [final] = guesses[guesses.length - 1][0];
  const cells = row.map(([token, text, probability]) => {
    const kinds = [token === final ? "final" : "", text === next ? "next" : ""];
    const attributes = {
      class: kinds.filter(Boolean).join(" "),
      style: `--share: ${100 * probability}%`,
    };
    const share = element("span", { class: "share" }, percent(probability));
    return element("td", attributes, element("code", {}, text), share);
  });
  const isHere = n === settles;
  const name = element("th", { scope: "row" }, n ? String(n) : "none");
  if (isHere) name.append(element("span", { class: "mark" }, " settles"));
  return element("tr", { class: isHere ? "settles" : "" }, name, ...cells);
}
