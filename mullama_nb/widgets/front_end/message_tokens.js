// @ts-check
// The tokens of a message, and what could have stood in the place of one.

import { element } from "./dom.js";
import { percent } from "./format.js";
import { send } from "./kernel.js";

/** @import { ChatTraits, Model } from "./kernel.js" */

/**
 * A token's text, and how likely it was; null where it was not drawn.
 *
 * @typedef {[text: string, probability: number | null]} Token
 */

/**
 * What could have stood in a token's place.
 *
 * @typedef {[token: number, text: string, probability: number]} Alternative
 */

/**
 * The message that is looked into, and the token of it; empty where none is.
 *
 * @typedef {{ id?: string, tokens?: Token[] }} Detail
 * @typedef {{ id?: string, token?: number, chosen?: number, found?: Alternative[] }} Alternatives
 * @typedef {ChatTraits & { pending: string, detail: Detail, alternatives: Alternatives }} PanelTraits
 * @typedef {Model<PanelTraits>} PanelModel
 */

const HINT = "The stronger the shade, the less likely the token was. " +
  "Choose one to see what else could stand there.";

/**
 * Every token, shaded by how unlikely it was; a click shows what could stand in its place.
 *
 * @param {PanelModel} model
 * @param {string} id
 * @param {Token[]} tokens
 */
export function makeTokens(model, id, tokens) {
  const places = tokens.map((token, n) =>
    drawToken(token, () => {
      stand(n);
      send(model, "alternatives", { checkpoint: id, token: n });
    })
  );
  const lines = tokens.flatMap((
    [text],
    n,
  ) => [places[n], "\n".repeat(text.split("\n").length - 1)]);
  const group = { class: "mullama-tokens", role: "group", "aria-label": "Tokens" };
  const text = element("div", { ...group, onkeydown: walk }, lines);
  const named = { class: "mullama-alternatives", role: "group", "aria-label": "Alternatives" };
  const others = element("div", named);
  const hint = element("div", { class: "mullama-hint" }, HINT);
  let current = 0; // the token that Tab goes to
  if (places.length) stand(0);

  /** @param {number} n */
  function stand(n) {
    places[current].tabIndex = -1;
    current = n;
    places[current].tabIndex = 0;
  }
  /** @param {KeyboardEvent} event */
  function walk(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const at = places.findIndex((place) => place === event.target);
    stand(Math.min(Math.max(at + step, 0), places.length - 1));
    places[current].focus();
  }
  function update() {
    const { id: of, token, chosen, found = [] } = model.get("alternatives");
    const isHere = of === id;
    places.forEach((place, n) => place.setAttribute("aria-pressed", String(isHere && n === token)));
    others.hidden = !isHere;
    if (!isHere || token === undefined) return;
    const isBusy = model.get("is_busy");
    others.replaceChildren(...found.map((alternative) => {
      const isChosen = alternative[0] === chosen;
      const made = drawAlternative(alternative, isChosen, () => {
        send(model, "fork", { checkpoint: id, token, choose: alternative[0] });
      });
      made.disabled = isChosen || isBusy;
      return made;
    }));
  }
  return { node: element("div", {}, text, hint, others), update };
}

/**
 * @param {Token} token
 * @param {() => void} onclick
 */
function drawToken([text, probability], onclick) {
  const isGiven = probability === null;
  const share = isGiven ? "" : percent(probability);
  const doubt = isGiven ? null : `--doubt: ${Math.round((1 - probability) * 45)}%`;
  const attributes = {
    type: "button",
    class: isGiven ? "given" : "",
    style: doubt,
    title: isGiven ? "not drawn" : share,
    "aria-label": `${text} ${share}`,
    tabindex: -1,
    onclick,
  };
  return element("button", attributes, text.replaceAll("\n", "↵"));
}

/**
 * @param {Alternative} alternative
 * @param {boolean} isChosen
 * @param {() => void} onclick
 */
function drawAlternative([, text, probability], isChosen, onclick) {
  const share = percent(probability);
  const title = isChosen ? "This is the one that stands there" : "Go on from here with this token";
  const attributes = {
    type: "button",
    style: `--share: ${100 * probability}%`,
    title,
    "aria-label": `${text} ${share}`,
    "aria-current": String(isChosen),
    onclick,
  };
  const piece = JSON.stringify(text).slice(1, -1).replaceAll(" ", "␣");
  return element(
    "button",
    attributes,
    element("span", { class: "piece" }, piece),
    element("span", {}, share),
  );
}
