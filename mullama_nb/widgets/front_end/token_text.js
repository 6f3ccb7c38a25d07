// @ts-check
// The arrow keys that go from one token to the next.

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
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const to = step ? inNextLine(all, at, step) : goals[event.key];
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

/**
 * The element above or below one; itself in the first and last line.
 *
 * @param {HTMLElement[]} all
 * @param {number} at
 * @param {number} step 1: below, -1: above
 */
function inNextLine(all, at, step) {
  if (at < 0) return at;
  const place = (/** @type {number} */ n) => {
    const { left, right, top } = all[n].getBoundingClientRect();
    return { x: (left + right) / 2, top };
  };
  const here = place(at);
  const isOn = (/** @type {number} */ n, /** @type {number} */ top) =>
    Math.abs(place(n).top - top) < 3;
  let n = at + step;
  while (all[n] && isOn(n, here.top)) n += step;
  if (!all[n]) return at;
  const line = place(n).top;
  let best = n;
  for (; all[n] && isOn(n, line); n += step) {
    if (Math.abs(place(n).x - here.x) < Math.abs(place(best).x - here.x)) best = n;
  }
  return best;
}
