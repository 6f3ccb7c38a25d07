// @ts-check
// How a token was chosen: a bar of probabilities for each step, and what fans out from it.

import { element, shape } from "./dom.js";
import { count, percent } from "./format.js";
import { listCandidates } from "./funnel_candidates.js";

/**
 * The part of a bar that is a token's; `above` is its place in the bar above, -1 for none, and
 * `isKept` is 0 where the next step takes it away.
 *
 * @typedef {[token: number, text: string, low: number, high: number, above: number,
 *   isKept: number]} Segment
 * @typedef {[text: string, share: number]} Removed
 * @typedef {[title: string, detail: string, n: number | null, before: number | null,
 *   segments: Segment[], removed: Removed[]]} Bar
 * @typedef {[number: number, next: number, nextText: string | null]} Draw
 */

/**
 * @typedef {object} Found
 * @property {number} token
 * @property {string} text with signs for what is not seen
 * @property {string} words how it came about
 * @property {number} position
 * @property {Bar[]} bars
 * @property {Draw | null} draw
 */

const THIN = 0.008; // a share for which a line between segments has no room
const APART = 0.16; // numbers that do not hide each other

/** The bars, one of which is looked at. */
export class Funnel {
  constructor() {
    this.list = element("div", {
      class: "mullama-steps-list",
      role: "listbox",
      "aria-label": "Steps",
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.press(event),
    });
    this.words = element("p", { class: "mullama-funnel-words", "aria-live": "polite" });
    this.candidates = element("div", { class: "mullama-candidates" });
    this.node = element("div", { class: "mullama-funnel" }, this.words, this.list, this.candidates);
    /** @type {Found | null} */
    this.found = null;
    /** @type {HTMLElement[]} */
    this.steps = [];
    this.chosen = ""; // the title of the step that is looked at
  }

  /** @param {Found | null} found */
  show(found) {
    this.found = found;
    this.node.hidden = !found;
    if (!found) return;
    const { text, words, bars } = found;
    this.words.replaceChildren(element("bdi", { class: "piece" }, text), ` ${words}`);
    const hadFocus = this.list.matches(":focus-within");
    this.steps = bars.map((bar, i) => this.drawStep(found, bar, i));
    this.list.replaceChildren(...this.steps);
    const same = bars.findIndex(([title]) => title === this.chosen);
    this.look(same < 0 ? bars.length - 1 : same, hadFocus);
  }

  /**
   * @param {number} at
   * @param {boolean} [focus]
   */
  look(at, focus = false) {
    const bar = this.found?.bars[at];
    this.candidates.hidden = !bar;
    if (!this.found || !bar) return;
    this.chosen = bar[0];
    this.steps.forEach((step, i) => {
      step.setAttribute("aria-selected", String(i === at));
      step.tabIndex = i === at ? 0 : -1;
    });
    this.candidates.replaceChildren(...listCandidates(this.found, bar, at));
    if (focus) this.steps[at].focus();
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const at = this.steps.findIndex((step) => step === event.target);
    const last = this.steps.length - 1;
    /** @type {Record<string, number>} */
    const places = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: last };
    const to = places[event.key];
    if (to === undefined || at < 0) return;
    this.look(Math.min(Math.max(to, 0), last), true);
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * @param {Found} found
   * @param {Bar} bar
   * @param {number} i
   */
  drawStep(found, bar, i) {
    const [title, detail, n, before, segments] = bar;
    const above = found.bars[i - 1]?.[4] ?? [];
    const steps = before === n ? [n] : [before, n];
    const numbers = steps.flatMap((each) => each === null ? [] : [count(each)]);
    const draw = i === found.bars.length - 1 ? found.draw : null;
    const strip = element(
      "div",
      { class: "mullama-strip" },
      segments.map((segment) => drawSegment(segment, segment[0] === found.token)),
      draw && drawNeedles(draw),
    );
    const mine = segments.find(([token]) => token === found.token);
    const share = mine
      ? `${found.text} ${percent(mine[3] - mine[2])}`
      : `${found.text} is not listed`;
    const said = [`${title}: ${detail}`, numbers.join(" to "), share].filter(Boolean).join("; ");
    return element(
      "div",
      {
        role: "option",
        class: "mullama-step",
        "aria-label": said,
        onclick: () => this.look(i),
      },
      drawFans(above, segments, found.token),
      element(
        "div",
        { class: "heading" },
        element("strong", {}, title),
        element("span", { class: "detail" }, detail),
        element("span", { class: "numbers" }, numbers.join(" → ")),
      ),
      strip,
      draw && drawNumbers(draw),
    );
  }
}

/**
 * @param {Segment} segment
 * @param {boolean} isChosen
 */
function drawSegment([, text, low, high, , isKept], isChosen) {
  const kind = isChosen ? "chosen" : "";
  const style = `left: ${100 * low}%; width: ${100 * (high - low)}%`;
  const title = `${text} ${percent(high - low)}${isKept ? "" : ", taken away by the next step"}`;
  const thin = high - low < THIN ? " thin" : "";
  const attributes = { class: `segment ${kind}${isKept ? "" : " lost"}${thin}`, style, title };
  return element("div", attributes, element("bdi", {}, text));
}

/**
 * What leads from the bar above to this one.
 *
 * @param {Segment[]} above
 * @param {Segment[]} segments
 * @param {number} chosen
 */
function drawFans(above, segments, chosen) {
  const svg = shape("svg", {
    class: "fans",
    viewBox: "0 0 1 1",
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  for (const [token, , low, high, from] of segments) {
    if (from < 0 || !above[from]) continue;
    const [, , left, right] = above[from];
    const points = `${left},0 ${right},0 ${high},1 ${low},1`;
    svg.append(shape("polygon", { points, class: token === chosen ? "chosen" : "" }));
  }
  return svg;
}

/** @param {number} x */
function at(x) {
  return `left: ${100 * x}%`;
}

/** Where the drawn number falls, and that of the next ordinal. @param {Draw} draw */
function drawNeedles([number, next]) {
  return element(
    "div",
    { class: "needles", "aria-hidden": "true" },
    element("i", { class: "next", style: at(next) }),
    element("i", { class: "needle", style: at(number) }),
  );
}

/** The numbers below them. @param {Draw} draw */
function drawNumbers([number, next]) {
  /**
   * @param {number} x
   * @param {string} words
   */
  const label = (x, words) => {
    const side = x < 0.12 ? "first" : x > 0.88 ? "last" : "";
    return element("span", { class: side, style: at(x) }, words);
  };
  const isApart = Math.abs(next - number) > APART;
  return element(
    "div",
    { class: "mullama-drawn-numbers", "aria-hidden": "true" },
    label(number, number.toFixed(4)),
    isApart ? label(next, `next ${next.toFixed(4)}`) : null,
  );
}
