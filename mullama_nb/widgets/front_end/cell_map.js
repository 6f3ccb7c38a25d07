// @ts-check
// What lies in the cells of a context, and beside it: one strip of tokens for each branch.

import { makeBar, makeGauge, makeKeys, makeSaid } from "./cell_bar.js";
import { Sheet } from "./cell_sheet.js";
import { makeSteps } from "./cell_steps.js";
import { Cells } from "./cell_strips.js";
import { Theme, watchTheme } from "./cell_theme.js";
import { define } from "./define.js";
import { element } from "./dom.js";

/** @import { Change, Snapshot } from "./cell_strips.js" */
/** @import { ChatTraits, Model } from "./kernel.js" */

/** @param {Partial<Snapshot>} snapshot */
export function start(snapshot) {
  return new Cells(snapshot);
}

/**
 * @param {Cells} cells
 * @param {Change} change
 */
export function apply(cells, change) {
  return cells.apply(change);
}

/**
 * @param {HTMLElement} body
 * @param {{ model: Model<ChatTraits>, state: () => Cells }} scope
 */
function draw(body, { model, state }) {
  const frame = element("div", { class: "mullama-cellmap" });
  body.append(frame);
  const theme = new Theme(frame);
  const said = makeSaid(), keys = makeKeys();
  const steps = makeSteps(model);
  const bar = makeBar(() => sheet, steps.open);
  const gauge = makeGauge(() => sheet, state, theme);
  const { show: tell, read } = said;
  const sheet = new Sheet({ model, state, theme, tell, read, moved: gauge.paint });
  frame.append(bar.node, gauge.node, sheet.node, said.node, keys.node, steps.node);
  const unwatch = watchTheme(() => sheet.schedule());
  const showBusy = () => frame.setAttribute("aria-busy", String(model.get("is_busy")));
  showBusy();
  model.on("change:is_busy", showBusy);
  return {
    /** @param {Change | null} change */
    update(change) {
      const cells = state();
      bar.update(cells);
      keys.update(cells);
      steps.update(cells);
      sheet.layOut(!change || cells.hasMoved);
      said.show(sheet.hovered ?? sheet.here);
    },
    destroy() {
      model.off("change:is_busy", showBusy);
      unwatch();
      sheet.destroy();
    },
  };
}

export default define({ start, apply, draw });
