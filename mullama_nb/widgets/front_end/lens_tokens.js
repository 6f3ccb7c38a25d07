// @ts-check
// The tokens of a conversation, shaded by where the chosen one looked.

import { button, element, nameOf } from "./dom.js";
import { count, percent } from "./format.js";
import { name, shareInWords } from "./lens_words.js";
import { makeSections, windowStart } from "./token_sections.js";
import { rove } from "./token_text.js";

/** @import { Change, State } from "./lens.js" */

const STEP = 1024; // tokens that are shown further at once
const REST = 150; // ms after which the token is asked that an arrow key went to
const STRONGEST = 60; // % of the brand colour

/** @param {(token: number) => void} choose */
export function makeTokenView(choose) {
  /** @type {State | null} */
  let state = null;
  let from = Infinity; // the first token that is drawn
  let due = -1; // the chosen token, until it was brought into sight
  let was = -1; // the token that was chosen before
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const sections = makeSections();
  const ends = makeEnds((step) => {
    from = Math.max(0, from + step);
    redraw(0);
  });
  const keys = rove(sections.places, (n) => {
    clearTimeout(timer);
    timer = setTimeout(() => choose(from + n), REST);
  });
  const named = { role: "group", "aria-label": "Tokens" };
  const parts = [ends.earlier, sections.node, ends.later];
  const scroller = element("div", { class: "scroller", ...named }, parts);
  const said = element("div", { class: "said", "aria-live": "polite" });
  const node = element("div", { class: "tokens" }, scroller, said);
  listen(sections.node, say, (at) => {
    clearTimeout(timer);
    keys.stand(at - from);
    choose(at);
  });
  sections.node.addEventListener("keydown", keys.walk);

  /** @param {number | null} at */
  function say(at) {
    if (!state || at === null) return said.replaceChildren();
    said.textContent = [name(state.pieces, at), shareInWords(state, at)].filter(Boolean).join(": ");
  }
  /** @param {number} keep tokens that are as they were */
  function redraw(keep) {
    if (!state) return;
    sections.update(state.pieces, state.sections, from, keep);
    shade(sections.places(), from, state);
    ends.update(state, sections.range());
  }
  /**
   * @param {State} now
   * @param {Change | null} change
   */
  function update(now, change) {
    state = now;
    scroller.setAttribute("aria-busy", String(now.stale > 0));
    from = windowStart(now.pieces.length, now.chosen, from);
    redraw(change ? change.keep ?? Infinity : 0);
    const chosen = now.chosen ?? -1;
    if (chosen !== was) {
      was = due = chosen;
      keys.stand(chosen - from);
    }
    show();
  }
  /** Bring the chosen token into sight, as soon as there is any. */
  function show() {
    if (!scroller.clientHeight) return;
    bringIntoSight(scroller, sections.places()[due - from]);
    due = -1;
  }
  return { node, update, show, destroy: () => clearTimeout(timer) };
}

/**
 * @param {HTMLElement} list
 * @param {(at: number | null) => void} say called for the token that is pointed at
 * @param {(at: number) => void} choose
 */
function listen(list, say, choose) {
  /** @param {Event} event */
  const tokenOf = ({ target }) => {
    const place = target instanceof Element ? target.closest("button") : null;
    return place ? Number(place.dataset.n) : null;
  };
  list.addEventListener("click", (event) => {
    const at = tokenOf(event);
    if (at !== null) choose(at);
  });
  list.addEventListener("pointerover", (event) => say(tokenOf(event)));
  list.addEventListener("focusin", (event) => say(tokenOf(event)));
  list.addEventListener("pointerleave", () => say(null));
}

/**
 * @param {HTMLElement[]} places
 * @param {number} from the token of the first
 * @param {State} state
 */
function shade(places, from, state) {
  const { pieces, chosen, weights, look } = state;
  const shares = weights?.shares ?? new Float32Array();
  const top = shares.reduce((a, b) => Math.max(a, b), 0) || 1;
  const left = new Set(weights?.left_out);
  const last = look?.position ?? Infinity;
  places.forEach((place, n) => {
    const at = from + n;
    const part = shareInWords(state, at);
    place.style.setProperty("--shade", `${STRONGEST * (shares[at] ?? 0) / top}%`);
    place.setAttribute("aria-label", `${pieces[at]}${part && `, ${part}`}`);
    place.setAttribute("aria-pressed", String(at === chosen));
    place.className = at > last ? "later" : left.has(at) ? "left-out" : "";
  });
}

/**
 * What is not drawn at either end, and how much attention it got.
 *
 * @param {(step: number) => void} shift
 */
function makeEnds(shift) {
  const earlier = button("", "Show earlier tokens", () => shift(-STEP));
  const later = button("", "Show later tokens", () => shift(STEP));
  /**
   * @param {State} state
   * @param {{ from: number, to: number }} range
   */
  function update({ pieces, weights }, { from, to }) {
    const shares = weights?.shares ?? new Float32Array();
    label(earlier, "earlier", from, shares.subarray(0, from));
    label(later, "later", pieces.length - to, shares.subarray(to));
  }
  return { earlier, later, update };
}

/**
 * @param {HTMLElement} node
 * @param {string} which
 * @param {number} n
 * @param {Float32Array} shares
 */
function label(node, which, n, shares) {
  const share = shares.reduce((a, b) => a + b, 0);
  node.hidden = n <= 0;
  node.textContent = `${count(n)} ${which} tokens${share ? ` (${percent(share)})` : ""}`;
  node.setAttribute("aria-label", nameOf(node.textContent, node.title));
}

/**
 * Scroll an area, and not the page around it.
 *
 * @param {HTMLElement} scroller
 * @param {HTMLElement | undefined} place
 */
function bringIntoSight(scroller, place) {
  if (!place) return;
  const inner = place.getBoundingClientRect(), outer = scroller.getBoundingClientRect();
  if (inner.top < outer.top || inner.bottom > outer.bottom) {
    scroller.scrollTop += (inner.top + inner.bottom - outer.top - outer.bottom) / 2;
  }
}
