// @ts-check
// The tokens of a message, and what could have stood in the place of one.

import { element } from "./dom.js";
import { percent } from "./format.js";
import { send } from "./kernel.js";
import { byItself, inLines, inText, rove } from "./token_text.js";

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
      keys.stand(n);
      send(model, "alternatives", { checkpoint: id, token: n });
    })
  );
  const keys = rove(() => places);
  const group = { class: "mullama-tokens", role: "group", "aria-label": "Tokens" };
  const lines = inLines(tokens.map(([text]) => text), places);
  const text = element("div", { ...group, onkeydown: keys.walk }, lines);
  const named = { class: "mullama-alternatives", role: "group", "aria-label": "Alternatives" };
  const others = element("div", named);
  const hint = element("div", { class: "mullama-hint" }, HINT);
  keys.stand(0);

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
  const shade = isGiven ? null : `--shade: ${Math.round((1 - probability) * 45)}%`;
  const attributes = {
    type: "button",
    class: isGiven ? "given" : "",
    style: shade,
    title: isGiven ? "not drawn" : share,
    "aria-label": `${text} ${share}`,
    tabindex: -1,
    onclick,
  };
  return element("button", attributes, inText(text));
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
  return element(
    "button",
    attributes,
    element("span", { class: "piece" }, byItself(text)),
    element("span", {}, share),
  );
}
