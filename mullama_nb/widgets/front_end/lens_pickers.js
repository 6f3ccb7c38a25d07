// @ts-check
// Which layers and heads are shown, and whether sinks are.

import { element } from "./dom.js";
import { percent } from "./format.js";

/** @import { State } from "./lens.js" */

/**
 * @param {(action: string, args: Record<string, number | boolean>) => void} act
 */
export function makePickers(act) {
  const layer = makePicker("Layer", pick);
  const head = makePicker("Head", pick);
  const sinks = element("input", {
    type: "checkbox",
    onchange: () => {
      act("sinks", { leave_out: sinks.checked });
    },
  });
  const why = "The first token, and tokens that take more than half of the weight in most heads, " +
    "are looked at without being meant";
  const scale = element("span", { class: "scale" });
  const node = element(
    "div",
    { class: "pickers" },
    layer.node,
    head.node,
    element("label", { title: why }, sinks, " Leave out sinks"),
    scale,
  );

  function pick() {
    /** @type {Record<string, number>} */
    const args = {};
    for (const [name, { select }] of Object.entries({ layer, head })) {
      if (select.value !== "") args[name] = Number(select.value);
    }
    act("pick", args);
  }
  /** @param {State} state */
  function update({ look, picked, weights }) {
    node.hidden = Boolean(look) && !look?.layers.length;
    layer.update(look?.layers ?? [], picked.layer);
    head.update([...Array(look?.n_heads ?? 0).keys()], picked.head);
    sinks.checked = picked.without_sinks;
    sinks.disabled = !look;
    const top = weights ? weights.shares.reduce((a, b) => Math.max(a, b), 0) : 0;
    scale.hidden = !top;
    scale.replaceChildren("0", element("i"), percent(top));
  }
  return { node, update };
}

/**
 * @param {string} label
 * @param {() => void} onchange
 */
function makePicker(label, onchange) {
  /** Keep its keys from the notebook. @param {KeyboardEvent} event */
  const onkeydown = (event) => event.stopPropagation();
  const select = element("select", { onchange, onkeydown });
  const node = element("label", {}, `${label} `, select);
  let drawn = "";
  /**
   * @param {number[]} numbers
   * @param {number | null} picked
   */
  function update(numbers, picked) {
    const wanted = numbers.join();
    if (wanted !== drawn || !select.options.length) {
      drawn = wanted;
      const mean = element("option", { value: "" }, `mean of all ${numbers.length || ""}`.trim());
      select.replaceChildren(mean, ...numbers.map((n) => element("option", { value: n }, n)));
    }
    select.disabled = !numbers.length;
    select.value = picked === null ? "" : String(picked);
  }
  return { node, select, update };
}
