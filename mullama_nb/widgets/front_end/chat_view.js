// @ts-check
// A chat's whole view, of parts that are widgets of their own: each has its state and its channel.

import { define } from "./define.js";
import { element } from "./dom.js";
import { STEP_KEYS } from "./keys.js";
import { lastLayout, makePanes } from "./panes.js";

/** @import { Host, Model, Traits } from "./kernel.js" */
/** @import { Layout } from "./panes.js" */

/** @typedef {Traits & { panel: string, steps: string, timeline: string }} ViewTraits */

/**
 * @param {HTMLElement} body
 * @param {{ model: Model<ViewTraits>, state: () => Layout, host: Host }} scope
 */
function draw(body, { model, state, host }) {
  const steps = show(host, model.get("steps"), "mullama-steps-part");
  const panel = show(host, model.get("panel"), "mullama-panel-part");
  const timeline = show(host, model.get("timeline"), "mullama-timeline-part");
  const { fold, panes, below, fit, destroy } = makePanes(panel, timeline, "the tree", state);
  body.classList.add("mullama-view");
  body.append(element("div", { class: "mullama-view-bar" }, steps, fold), panes, below);
  return { update: fit, destroy };
}

/**
 * A place in which another widget is shown.
 *
 * @param {Host} host
 * @param {string} reference
 * @param {string} name of its class
 */
function show(host, reference, name) {
  const el = element("div", { class: name });
  const say = (/** @type {unknown} */ error) => {
    el.append(element("div", { class: "mullama-error", role: "alert" }, String(error)));
  };
  host.getWidget(reference).then((widget) => widget.render({ el })).catch(say);
  return el;
}

export default define({
  start: () => ({ ...lastLayout() }),
  apply: (/** @type {Layout} */ layout) => layout,
  draw,
  keys: STEP_KEYS,
});
