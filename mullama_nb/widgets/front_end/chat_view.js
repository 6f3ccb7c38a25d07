// @ts-check
// A chat's whole view, of parts that are widgets of their own: each has its state and its channel.

import { define } from "./define.js";
import { element } from "./dom.js";

/** @import { Host, Model, Traits } from "./kernel.js" */

/** @typedef {Traits & { panel: string, steps: string, timeline: string }} ViewTraits */

/**
 * @param {HTMLElement} body
 * @param {{ model: Model<ViewTraits>, host: Host }} scope
 */
function draw(body, { model, host }) {
  const [panel, steps, timeline] = /** @type {const} */ (["panel", "steps", "timeline"]).map(
    (name) => show(host, model.get(name), `mullama-${name}-part`),
  );
  body.classList.add("mullama-view");
  body.append(
    panel,
    element("div", { class: "mullama-side" }, steps, timeline),
  );
  return { update() {} };
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
    el.append(
      element("div", { class: "mullama-error", role: "alert" }, String(error)),
    );
  };
  host.getWidget(reference).then((widget) => widget.render({ el })).catch(say);
  return el;
}

export default define({
  start: () => ({}),
  apply: (/** @type {object} */ state) => state,
  draw,
});
