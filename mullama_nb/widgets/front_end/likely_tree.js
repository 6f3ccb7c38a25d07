// @ts-check
// The picture of a tree of likely tokens: rows of text, and links as wide as they are likely.

import { element, shape } from "./dom.js";
import { activeElement } from "./focus.js";
import { percent } from "./format.js";

/**
 * A token as the kernel sends it: the index of the one before it, -1 for none; its row; its text with
 * signs; its probability, and that of all from the start to it; 1 if it ends the answer.
 *
 * @typedef {[parent: number, row: number, text: string, probability: number, joint: number,
 *   isEnd: number]} Sent
 * @typedef {{ tokens: Sent[], columns: number[] }} Tree
 */

/**
 * @typedef {object} Token
 * @property {number} parent
 * @property {number} column
 * @property {number} row
 * @property {string} text
 * @property {string} path the texts from the start to it
 * @property {number} probability
 * @property {number} joint
 * @property {boolean} isEnd
 * @property {number[]} children
 */

// The same as in likely_tree.py, which draws the picture for readers without a kernel.
const ROW = 27,
  LINE = 22,
  GAP = 20,
  START = 8,
  SHARE = 48,
  THIN = 1.5,
  THICK = 6.5;
const WIDEST_GAP = 52, NARROWEST = 112;
const HINT = "Choose a token to go on from there.";

/** @param {Sent[]} sent @returns {Token[]} */
export function readTokens(sent) {
  /** @type {Token[]} */
  const tokens = [];
  sent.forEach(([parent, row, text, probability, joint, isEnd], i) => {
    const before = tokens[parent];
    before?.children.push(i);
    tokens.push({
      parent,
      row,
      text,
      probability,
      joint,
      column: before ? before.column + 1 : 0,
      path: (before?.path ?? "") + text,
      isEnd: isEnd !== 0,
      children: [],
    });
  });
  return tokens;
}

/**
 * Where columns begin and how wide they are, so that they fill no more than the room if they can.
 *
 * @param {number[]} columns characters of each
 * @param {number} character pixels
 * @param {number} room pixels
 */
export function fitColumns(columns, character, room) {
  const wanted = columns.map((n) => Math.ceil(n * character) + SHARE);
  const free = room - START - SHARE - columns.length * GAP;
  const limit = Math.max(Math.floor(limitOf(wanted, free)), NARROWEST);
  const widths = wanted.map((width) => Math.min(width, limit));
  const spare = free - widths.reduce((a, b) => a + b, 0);
  const gap = GAP +
    Math.max(0, Math.min(WIDEST_GAP - GAP, spare / (columns.length || 1)));
  let left = START;
  const lefts = widths.map((width) => {
    const at = left + gap;
    left = at + width;
    return at;
  });
  return { lefts, widths, gap, width: left + SHARE };
}

/**
 * How wide the widest of some widths may be if they are to fit.
 *
 * @param {number[]} widths
 * @param {number} room
 */
function limitOf(widths, room) {
  let left = room;
  const inOrder = widths.toSorted((a, b) => a - b);
  for (const [i, width] of inOrder.entries()) {
    const share = left / (widths.length - i);
    if (width > share) return share;
    left -= width;
  }
  return Infinity;
}

/**
 * The token that an arrow leads to; the same one where there is none.
 *
 * @param {Token[]} tokens
 * @param {number} at
 * @param {string} key
 */
export function step(tokens, at, key) {
  const { parent, children, column } = tokens[at];
  const inColumn = tokens.flatMap((token, i) => token.column === column ? [i] : []);
  const place = inColumn.indexOf(at);
  const to = {
    ArrowRight: children[0],
    ArrowLeft: parent < 0 ? at : parent,
    ArrowDown: inColumn[place + 1],
    ArrowUp: inColumn[place - 1],
    Home: 0,
    End: inColumn.at(-1),
  }[key];
  return to ?? at;
}

/** The tree; its tokens can be chosen by pointer and by keys. */
export class LikelyTree {
  /** @param {(token: number) => void} follow */
  constructor(follow) {
    this.follow = follow;
    /** @type {(words: (Node | string)[]) => void} */
    this.onChoice = () => {};
    this.links = shape("svg", { "aria-hidden": "true" });
    this.sheet = element("div", { class: "mullama-likely-sheet" });
    const name = { role: "tree", "aria-label": "Likely continuations" };
    this.node = element("div", { class: "mullama-likely-tree", ...name }, this.sheet);
    this.node.addEventListener("keydown", (event) => this.press(event));
    this.node.addEventListener("pointerleave", () => this.point(null));
    /** @type {Token[]} */
    this.tokens = [];
    /** @type {number[]} */
    this.columns = [];
    /** @type {HTMLElement[]} */
    this.nodes = [];
    /** @type {SVGElement[]} */
    this.ways = [];
    this.current = 0; // the token that Tab goes to
    this.observer = new ResizeObserver(() => this.place());
    this.observer.observe(this.node);
  }

  destroy() {
    this.observer.disconnect();
  }

  /** @param {Tree} tree */
  show({ tokens, columns }) {
    const hadFocus = this.sheet.contains(activeElement(this.sheet));
    this.tokens = readTokens(tokens);
    this.columns = columns;
    this.current = 0;
    this.nodes = this.tokens.map((token, i) => this.drawToken(token, i));
    this.ways = this.tokens.map(({ joint }) => {
      return shape("path", { style: `--shade: ${Math.round(40 + 50 * joint)}%` });
    });
    this.links.replaceChildren(
      shape("circle", { r: 4, cx: START, cy: LINE }),
      ...this.ways.toReversed(),
    );
    this.sheet.replaceChildren(this.links, ...this.nodes);
    this.node.hidden = !tokens.length;
    this.place();
    this.point(null);
    if (hadFocus) this.nodes[0]?.focus({ preventScroll: true });
    this.node.scrollTo(0, 0);
  }

  /** Lay the tree out for the room that there is. */
  place() {
    const room = this.node.clientWidth;
    if (room <= 0 || !this.tokens.length) return;
    const { lefts, widths, width } = fitColumns(this.columns, this.measure(), room);
    const height = ROW * (this.tokens[this.tokens.length - 1].row + 1) + 4;
    this.sheet.style.width = `${width}px`;
    this.sheet.style.height = `${height}px`;
    this.links.setAttribute("width", String(width));
    this.links.setAttribute("height", String(height));
    this.tokens.forEach(({ column, row, parent, probability }, i) => {
      const before = this.tokens[parent];
      const begin = before ? lefts[column - 1] + widths[column - 1] : START;
      const above = LINE + ROW * (before?.row ?? 0),
        y = LINE + ROW * row,
        left = lefts[column];
      const middle = (begin + left) / 2;
      const way = `M${begin} ${above}C${middle} ${above} ${middle} ${y} ${left} ${y}h${
        widths[column]
      }`;
      this.ways[i].setAttribute("d", way);
      this.ways[i].setAttribute("stroke-width", String(THIN + THICK * probability));
      const { style } = this.nodes[i];
      style.left = `${left}px`;
      style.top = `${ROW * row}px`;
      style.width = `${widths[column]}px`;
    });
  }

  /** Pixels of a character. */
  measure() {
    const probe = element("span", { class: "mullama-likely-text" }, "0".repeat(20));
    probe.style.position = "absolute";
    this.sheet.append(probe);
    const wide = probe.getBoundingClientRect().width / 20;
    probe.remove();
    return wide || 8;
  }

  /**
   * @param {Token} token
   * @param {number} i
   */
  drawToken(token, i) {
    const { text, probability, joint, path, column, isEnd, children } = token;
    const here = percent(probability), all = percent(joint);
    const end = isEnd ? ", ends the answer" : "";
    const made = element(
      "div",
      {
        role: "treeitem",
        class: "mullama-likely-token",
        tabindex: i === this.current ? 0 : -1,
        "aria-level": column + 1,
        "aria-label": `${text}: ${here}, ${all} from the start${end}`,
        onclick: () => this.follow(i),
        onfocus: () => this.point(i),
        onpointerenter: () => this.point(i),
      },
      element("bdi", { class: "mullama-likely-text" }, text),
      element("span", { class: "share" }, here),
      children.length ? null : element("span", { class: "joint" }, all),
    );
    made.dataset.path = path;
    made.classList.toggle("end", isEnd);
    return made;
  }

  /** Mark the way to a token, and say what it is; null: none. @param {number | null} i */
  point(i) {
    const onWay = new Set();
    for (let at = i ?? -1; at >= 0; at = this.tokens[at].parent) onWay.add(at);
    this.ways.forEach((way, n) => {
      way.classList.toggle("on", onWay.has(n));
    });
    this.nodes.forEach((node, n) => node.classList.toggle("on", onWay.has(n)));
    this.onChoice(i === null ? [HINT] : describe(this.tokens[i]));
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const at = this.nodes.indexOf(/** @type {HTMLElement} */ (event.target));
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") this.follow(at);
    else if (/^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(event.key)) {
      this.nodes[this.current].tabIndex = -1;
      this.current = step(this.tokens, at, event.key);
      this.nodes[this.current].tabIndex = 0;
      this.nodes[this.current].focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/** @param {Token} token */
function describe({ path, probability, joint, isEnd }) {
  return [
    element("bdi", { class: "mullama-likely-text" }, path),
    element("span", {}, `${percent(probability)} here`),
    element("span", {}, `${percent(joint)} from the start`),
    ...(isEnd ? [element("span", {}, "ends the answer")] : []),
  ];
}
