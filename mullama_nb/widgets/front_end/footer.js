// @ts-check
// What the context holds, how answers are made, and how fast they come.

import { element } from "./dom.js";
import { count } from "./format.js";
import { send } from "./kernel.js";
import { makeMenus } from "./option_menu.js";

/** @import { State } from "./chat_panel.js" */
/** @import { PanelModel } from "./message_tokens.js" */
/** @import { Remedy } from "./notices.js" */
/** @import { Options } from "./option_menu.js" */

/**
 * @typedef {object} Footer
 * @property {number} used cells
 * @property {number} n_ctx cells there are
 * @property {Options} options of the menus
 * @property {Options} defaults
 * @property {boolean} thinks whether answers may have thoughts
 * @property {{ text: string, remedies: Remedy[] } | null} full
 */

/** @type {Footer} */
export const EMPTY = { used: 0, n_ctx: 0, options: {}, defaults: {}, thinks: false, full: null };

/**
 * Cells used after a typed message; null where that cannot be known now.
 *
 * @typedef {{ key: string, used: number | null }} Typed
 */

const REST = 250; // ms without a key until what was typed is counted
let n_views = 0;

/**
 * How wide the bar's parts are, in percent, and what it says.
 *
 * @param {number} used
 * @param {number} n_ctx
 * @param {number | null} after cells used after what is typed
 */
export function barOf(used, n_ctx, after) {
  const share = (/** @type {number} */ n) => n_ctx && 100 * Math.min(1, Math.max(0, n / n_ctx));
  const typed = after === null ? 0 : Math.max(0, share(after) - share(used));
  const words = `${count(used)} of ${count(n_ctx)} cells`;
  const isOver = after !== null && after > n_ctx;
  const more = after === null
    ? ""
    : isOver
    ? `${count(after - n_ctx)} too many with this message`
    : `${count(after)} with this message`;
  return { used: share(used), typed, isOver, words: more ? `${words}, ${more}` : words };
}

/** @param {number} pace tokens a second; 0: not known */
export function paceOf(pace) {
  return pace ? `${pace < 10 ? pace.toFixed(1) : count(Math.round(pace))} tokens/s` : "";
}

/**
 * @param {PanelModel} model
 * @param {() => State} state
 */
export function makeFooter(model, state) {
  const view = `${Date.now().toString(36)}-${n_views++}`;
  const bar = makeBar();
  const menus = makeMenus(model);
  const pace = element("span", { class: "mullama-pace", title: "Speed of the latest answer" });
  const settings = element("span", { class: "mullama-switched-on" });
  const node = element("div", { class: "mullama-footer" }, bar.node, menus.node, pace, settings);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let text = "";
  let n = 0;
  /** @type {number | null} */
  let after = null;

  function ask() {
    timer = undefined;
    if (text) send(model, "count", { text, key: `${view}-${++n}` });
  }
  function refresh() {
    const { footer, settings: words } = state();
    bar.update(barOf(footer.used, footer.n_ctx, after));
    menus.update(footer);
    pace.textContent = paceOf(model.get("pace"));
    settings.textContent = words.join(" · ");
    settings.hidden = !words.length;
  }
  return {
    node,
    refresh,
    /** Count what was typed, once it rests. @param {string} next */
    type(next) {
      text = next;
      clearTimeout(timer);
      timer = setTimeout(ask, REST);
      if (text) return;
      n += 1; // what is still being counted is not wanted any more
      after = null;
      refresh();
    },
    /** What was typed stands behind other messages now. */
    recount() {
      if (text && timer === undefined) timer = setTimeout(ask, REST);
    },
    /** @param {Typed} typed */
    hear({ key, used }) {
      if (key !== `${view}-${n}`) return; // another view's, or an earlier one
      after = used;
      refresh();
    },
    destroy: () => clearTimeout(timer),
  };
}

function makeBar() {
  const used = element("div", { class: "mullama-used" });
  const typed = element("div", { class: "mullama-typed" });
  const track = element("div", { class: "mullama-track" }, used, typed);
  const words = element("span", { "aria-hidden": "true" });
  const role = { role: "meter", "aria-label": "Context", "aria-valuemin": 0, "aria-valuemax": 100 };
  const node = element("div", { class: "mullama-cells-used", ...role }, track, words);
  return {
    node,
    /** @param {ReturnType<typeof barOf>} shown */
    update(shown) {
      used.style.width = `${shown.used}%`;
      typed.style.width = `${shown.typed}%`;
      node.classList.toggle("mullama-over", shown.isOver);
      words.textContent = shown.words;
      node.setAttribute("aria-valuenow", String(Math.round(shown.used)));
      node.setAttribute("aria-valuetext", shown.words);
    },
  };
}
