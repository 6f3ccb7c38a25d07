// @ts-check
// What the shade of a token stands for: how unlikely it was, or how open the choice.

import { element } from "./dom.js";
import { percent } from "./format.js";

/** @import { Token } from "./token_view.js" */
/** @typedef {keyof typeof KINDS} Kind */

const KINDS = {
  probability: "The stronger the shade, the less likely the token was.",
  surprisal: "The stronger the shade, the more the token surprises.",
  entropy: "The stronger the shade, the more tokens could have stood there.",
};

/** @param {number} nats */
export function inNats(nats) {
  return `${nats.toFixed(2)} nats`;
}

/**
 * How strongly each token is shaded, from 0 to 1, what the strongest shade stands for, and each
 * token in words.
 *
 * @param {Kind} kind
 * @param {Token[]} tokens
 * @param {(number | null)[] | null} entropy in nats, of what could have stood at each token
 */
export function shadesOf(kind, tokens, entropy) {
  const chances = tokens.map(([, probability]) => probability);
  const surprisal = chances.map((p) => p === null ? null : Math.max(0, -Math.log(p)));
  const words = chances.map((p, n) => {
    if (p === null) return "not drawn";
    const open = entropy?.[n];
    const said = [percent(p), `surprisal ${inNats(surprisal[n] ?? 0)}`];
    return [...said, ...(open == null ? [] : [`entropy ${inNats(open)}`])].join(", ");
  });
  if (kind === "probability") {
    const shades = chances.map((p) => p === null ? null : 1 - p);
    return { shades, words, least: "100 %", most: "0 %" };
  }
  const values = kind === "surprisal" ? surprisal : tokens.map((_, n) => entropy?.[n] ?? null);
  const top = Math.max(...values.map((value) => value ?? 0), 0);
  const shades = values.map((value) => value === null ? null : value / (top || 1));
  return { shades, words, least: "0", most: inNats(top) };
}

/**
 * Buttons for what the shade stands for, and a legend.
 *
 * @param {(kind: Kind) => void} choose
 */
export function makeShading(choose) {
  /** @type {[Kind, HTMLButtonElement][]} */
  const buttons = Object.entries(KINDS).map(([name, title]) => {
    const kind = /** @type {Kind} */ (name);
    const onclick = () => choose(kind);
    return [kind, element("button", { type: "button", title, onclick }, name)];
  });
  const least = element("span"), most = element("span");
  const scale = element("span", { class: "scale", "aria-hidden": "true" });
  const legend = element("span", { class: "legend", role: "img" }, least, scale, most);
  const group = { class: "mullama-shading", role: "group", "aria-label": "Shade by" };
  const made = buttons.map(([, each]) => each);
  const node = element("div", group, element("span", {}, "Shade by"), made, legend);
  return {
    node,
    /**
     * @param {Kind} kind
     * @param {{ least: string, most: string }} ends what no shade and the strongest stand for
     */
    show(kind, ends) {
      for (const [each, button] of buttons) {
        button.setAttribute("aria-pressed", String(each === kind));
      }
      least.textContent = ends.least;
      most.textContent = ends.most;
      legend.setAttribute("aria-label", `From ${ends.least}, not shaded, to ${ends.most}`);
    },
  };
}
