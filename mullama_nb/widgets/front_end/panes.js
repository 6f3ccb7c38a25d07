// @ts-check
// Two panes with a line between them and one below, both with a handle.

import { element } from "./dom.js";

/**
 * @typedef {object} Layout
 * @property {number} share of the second pane, in percent
 * @property {number} height of both, in pixels
 * @property {boolean} isFolded whether the second pane is hidden
 */

const LEAST_SHARE = 15, MOST_SHARE = 80;
const LEAST_HEIGHT = 240, MOST_HEIGHT = 2000;

/** The layout that a page's view was left in last; views that come begin with it. */
export function lastLayout() {
  const page = /** @type {{ mullamaLayout?: Layout }} */ (globalThis);
  return (page.mullamaLayout ??= { share: 38, height: 560, isFolded: false });
}

/**
 * @param {HTMLElement} first
 * @param {HTMLElement} second
 * @param {string} name of the second, as in "the tree"
 * @param {() => Layout} layout
 */
export function makePanes(first, second, name, layout) {
  const between = makeHandle(`Width of ${name}`, LEAST_SHARE, MOST_SHARE, {
    value: () => layout().share,
    step: -2, // to the left is more
    at: (x, y) => {
      const { right, bottom, width, height } = panes.getBoundingClientRect();
      return 100 * (isStacked() ? (bottom - y) / height : (right - x) / width);
    },
    set: (share) => change({ share }),
    onEnter: () => change({ isFolded: true }),
  });
  const below = makeHandle("Height", LEAST_HEIGHT, MOST_HEIGHT, {
    value: () => layout().height,
    step: 20,
    at: (_, y) => y - panes.getBoundingClientRect().top,
    set: (height) => change({ height }),
    onEnter: () => {},
  });
  const onclick = () => change({ isFolded: !layout().isFolded });
  const fold = element("button", { type: "button", class: "mullama-fold", onclick }, "Tree");
  const panes = element("div", { class: "mullama-panes" }, first, between, second);
  const isStacked = () => getComputedStyle(panes).flexDirection === "column";

  /** @param {Partial<Layout>} changed */
  function change(changed) {
    Object.assign(lastLayout(), Object.assign(layout(), changed));
    fit();
  }
  function fit() {
    const { share, height, isFolded } = layout();
    panes.style.setProperty("--m-share", `${share}%`);
    panes.style.setProperty("--m-height", `${height}px`);
    second.hidden = between.hidden = isFolded;
    fold.setAttribute("aria-expanded", String(!isFolded));
    fold.title = `${isFolded ? "Show" : "Hide"} ${name}`;
    between.setAttribute("aria-orientation", isStacked() ? "horizontal" : "vertical");
    between.setAttribute("aria-valuenow", String(Math.round(share)));
    below.setAttribute("aria-valuenow", String(Math.round(height)));
  }
  below.setAttribute("aria-orientation", "horizontal");
  const observer = new ResizeObserver(fit);
  observer.observe(panes);
  return { fold, panes, below, fit, destroy: () => observer.disconnect() };
}

/**
 * A line to move, by pointer or arrow keys.
 *
 * @param {string} name
 * @param {number} least
 * @param {number} most
 * @param {object} does
 * @param {() => number} does.value
 * @param {number} does.step that an arrow key to the right, or down, makes
 * @param {(x: number, y: number) => number} does.at the value for a place on the screen
 * @param {(value: number) => void} does.set
 * @param {() => void} does.onEnter
 */
function makeHandle(name, least, most, { value, step, at, set, onEnter }) {
  const within = (/** @type {number} */ wanted) => Math.max(least, Math.min(most, wanted));
  /** @type {Record<string, () => void>} */
  const keys = {
    ArrowRight: () => set(within(value() + step)),
    ArrowDown: () => set(within(value() + step)),
    ArrowLeft: () => set(within(value() - step)),
    ArrowUp: () => set(within(value() - step)),
    Home: () => set(least),
    End: () => set(most),
    Enter: onEnter,
  };
  const range = { "aria-valuemin": least, "aria-valuemax": most };
  const node = element("div", {
    class: "mullama-handle",
    role: "separator",
    tabindex: 0,
    "aria-label": name,
    title: "Drag, or use the arrow keys",
    ...range,
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (!keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    },
    onpointerdown: (/** @type {PointerEvent} */ event) => {
      if (event.button !== 0) return;
      event.preventDefault(); // no text is selected
      node.focus();
      node.setPointerCapture(event.pointerId);
    },
    onpointermove: (/** @type {PointerEvent} */ event) => {
      if (node.hasPointerCapture(event.pointerId)) set(within(at(event.clientX, event.clientY)));
    },
  });
  return node;
}
