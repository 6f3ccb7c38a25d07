// @ts-check
// The tokens of a message, what could have stood in the place of one, and how it was chosen.

import { button, element } from "./dom.js";
import { percent } from "./format.js";
import { Funnel } from "./funnel.js";
import { send } from "./kernel.js";
import { makeShading, shadesOf } from "./shading.js";
import { makeTokenView } from "./token_view.js";

/** @import { Found } from "./funnel.js" */
/** @import { ChatTraits, Model } from "./kernel.js" */
/** @import { Remedy } from "./notices.js" */
/** @import { Kind } from "./shading.js" */
/** @import { Token } from "./token_view.js" */

/**
 * What could have stood in a token's place; its text has signs for what is not seen.
 *
 * @typedef {[token: number, text: string, probability: number]} Alternative
 */

/**
 * The message that is looked into, and the token of it; empty where none is. How a token was chosen
 * comes only where it was asked for, and so does the entropy.
 *
 * @typedef {{ id?: string, tokens?: Token[] }} Detail
 * @typedef {{ id?: string, token?: number, chosen?: number, found?: Alternative[],
 *   choice?: Found }} Alternatives
 * @typedef {{ id?: string, values?: (number | null)[] }} Entropy
 * @typedef {ChatTraits & { pending: string, detail: Detail, alternatives: Alternatives,
 *   entropy: Entropy, remedies: Remedy[], failures: number, notice: string, pace: number }} PanelTraits
 * @typedef {Model<PanelTraits>} PanelModel
 */

/**
 * Every token, shaded; a click shows what could stand in its place.
 *
 * @param {PanelModel} model
 * @param {string} id
 * @param {Token[]} tokens
 */
export function makeTokens(model, id, tokens) {
  /** @type {Kind} */
  let kind = "probability";
  const text = makeTokenView(tokens, (token) => {
    send(model, "alternatives", { checkpoint: id, token });
  });
  const shading = makeShading((wanted) => {
    kind = wanted;
    if (kind === "entropy" && !entropy()) send(model, "entropy", { checkpoint: id });
    shade();
  });
  const place = makePlace(model, id);

  function entropy() {
    const { id: of, values } = model.get("entropy");
    return of === id && values ? values : null;
  }
  function shade() {
    const { shades, words, ...ends } = shadesOf(kind, tokens, entropy());
    text.shade(shades, words);
    shading.show(kind, ends);
  }
  function update() {
    const { id: of, token } = model.get("alternatives");
    text.press(of === id ? token ?? null : null);
    place.update();
    shade();
  }
  return { node: element("div", {}, text.node, shading.node, place.node), update };
}

/**
 * What could stand in the place of the chosen token, and how that was chosen.
 *
 * @param {PanelModel} model
 * @param {string} id
 */
function makePlace(model, id) {
  const hint = element("div", { class: "mullama-hint" });
  hint.textContent = "Choose a token to see what else could stand there.";
  const named = { class: "mullama-alternatives", role: "group", "aria-label": "Alternatives" };
  const others = element("div", named);
  const funnel = new Funnel();
  const why = button("How was it chosen?", "Show each step of the sampler chain", () => {
    const { token } = model.get("alternatives");
    if (token !== undefined) send(model, "choice", { checkpoint: id, token });
  });
  const node = element("div", { class: "mullama-at-token" }, hint, others, why, funnel.node);
  /** @type {Found | undefined} */
  let shown;
  return {
    node,
    update() {
      const { id: of, token, chosen, found = [], choice } = model.get("alternatives");
      const isHere = of === id && token !== undefined;
      const isBusy = model.get("is_busy");
      hint.hidden = isHere;
      others.hidden = !isHere;
      why.hidden = !isHere || choice !== undefined;
      why.disabled = isBusy;
      if (!isHere) return funnel.show(null);
      others.replaceChildren(...found.map((alternative) => {
        const isChosen = alternative[0] === chosen;
        const made = drawAlternative(alternative, isChosen, () => {
          send(model, "fork", { checkpoint: id, token, choose: alternative[0] });
        });
        made.disabled = isChosen || isBusy;
        return made;
      }));
      if (choice !== shown || !choice) funnel.show(choice ?? null);
      shown = choice;
    },
  };
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
    element("bdi", { class: "piece" }, text),
    " ", // for who steers by voice, and reads both as one
    element("span", {}, share),
  );
}
