// @ts-check
// The tokens of a message as a running text, each of which can be chosen.

import { element } from "./dom.js";
import { rove } from "./token_text.js";

/**
 * A token's text, with signs for what is not seen; how likely it was, null where it was not drawn;
 * and how many line breaks it has.
 *
 * @typedef {[text: string, probability: number | null, breaks: number]} Token
 */

/**
 * Tokens to be chosen with the pointer, or with arrows and Enter.
 *
 * @param {Token[]} tokens
 * @param {(n: number) => void} choose
 */
export function makeTokenView(tokens, choose) {
  const places = tokens.map(([text], n) => {
    const onclick = () => {
      keys.stand(n);
      choose(n);
    };
    return element("button", { type: "button", tabindex: -1, onclick }, text || "∅");
  });
  const keys = rove(() => places);
  const lines = tokens.flatMap(([, , breaks], n) => [places[n], "\n".repeat(breaks)]);
  const group = { class: "mullama-tokens", role: "group", "aria-label": "Tokens" };
  const node = element("div", { ...group, onkeydown: keys.walk }, lines);
  keys.stand(0);
  return {
    node,
    /** Mark the chosen token; null: none. @param {number | null} n */
    press(n) {
      places.forEach((place, i) => place.setAttribute("aria-pressed", String(i === n)));
      if (n !== null && !node.matches(":focus-within")) keys.stand(n);
    },
    /**
     * Shade each token, and say why.
     *
     * @param {(number | null)[]} shades from 0 to 1; null: not drawn
     * @param {string[]} words
     */
    shade(shades, words) {
      places.forEach((place, n) => {
        const shade = shades[n];
        place.classList.toggle("given", shade === null);
        place.style.setProperty("--shade", `${Math.round(45 * (shade ?? 0))}%`);
        place.title = words[n];
        place.setAttribute("aria-label", `${tokens[n][0]} ${words[n]}`);
      });
    },
    /** The place of a token. @param {number} n */
    at: (n) => places[n],
  };
}
