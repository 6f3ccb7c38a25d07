// @ts-check
// Tokens as running text, and the arrow keys that go from one to the next.

/**
 * A token's text on one line, as it stands in a text: a line break is a sign.
 *
 * @param {string} text
 */
export function inText(text) {
  return text.replaceAll("\n", "↵");
}

/**
 * A token's text by itself: spaces and what cannot be seen are signs.
 *
 * @param {string} text
 */
export function byItself(text) {
  return JSON.stringify(text).slice(1, -1).replaceAll(" ", "␣");
}

/**
 * Elements of tokens with the line breaks that the tokens hold.
 *
 * @param {string[]} texts
 * @param {HTMLElement[]} places
 */
export function inLines(texts, places) {
  return texts.flatMap((
    text,
    n,
  ) => [places[n], "\n".repeat(text.split("\n").length - 1)]);
}

/**
 * Have Tab go to one of some elements, and arrow keys from that to the others.
 *
 * @param {() => HTMLElement[]} places
 * @param {(n: number) => unknown} [moved] called when a key has moved the focus
 */
export function rove(places, moved = () => {}) {
  /** @type {HTMLElement | undefined} */
  let current;
  /** @param {number} n */
  function stand(n) {
    if (current) current.tabIndex = -1;
    current = places()[n];
    if (current) current.tabIndex = 0;
  }
  /** @param {KeyboardEvent} event */
  function walk(event) {
    const all = places();
    const at = all.findIndex((place) => place === event.target);
    const last = all.length - 1;
    /** @type {Record<string, number>} */
    const goals = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: last };
    const to = goals[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const goal = Math.min(Math.max(to, 0), last);
    stand(goal);
    all[goal].focus();
    moved(goal);
  }
  return { stand, walk };
}
