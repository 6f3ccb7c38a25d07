// @ts-check
// A front end with one state for each model and any number of views drawn from it.

import { putBack } from "./binary.js";
import { element } from "./dom.js";
import { keepFocus } from "./focus.js";
import { keepKeys } from "./keys.js";
import { send } from "./kernel.js";
import { showEnded, watchLife, whileHeard } from "./life.js";
import { holdPresses } from "./presses.js";
import { tellOfViews } from "./views.js";

/** @import { Host, Model, Traits } from "./kernel.js" */

/**
 * @template Change
 * @typedef {object} View
 * @property {(change: Change | null) => void} update called after each change; null: a new state
 * @property {() => void} [destroy]
 */

/**
 * @template Snapshot, State, Change
 * @template {Traits} T
 * @typedef {object} Parts
 * @property {(snapshot: Partial<Snapshot>) => State} start
 * @property {(state: State, change: Change) => State | null} apply
 *   changes the state, or gives a new one; null where the change does not fit, so that a snapshot
 *   has to be taken
 * @property {(body: HTMLElement, scope: Scope<State, T>) => View<Change>} draw
 * @property {boolean} [showsError] whether the error of the last action stands above the view; false
 *   where the view has a place for it
 * @property {Record<string, string>} [keys] that ask for an action, anywhere but in a box to write in
 */

/**
 * What a view draws from; `host` has the other widgets that a view may show inside its own.
 *
 * @template State
 * @template {Traits} T
 * @typedef {{ model: Model<T>, state: () => State, host: Host }} Scope
 */

/**
 * What the kernel sends.
 *
 * @typedef {{ kind: "shown" }} Shown asks how many views there are
 * @typedef {{ kind: "snapshot", snapshot: any }} NewSnapshot
 * @typedef {{ kind: "change", number: number } & any} NewChange
 */

/**
 * Use it as `export default define({ start, apply, draw })`.
 *
 * @template Snapshot, State, Change
 * @template {Traits} T
 * @param {Parts<Snapshot, State, Change, T>} parts
 */
export function define({ start, apply, draw, showsError = true, keys = {} }) {
  return () => {
    /** @type {State} */
    let state;
    let number = 0; // of the latest change that the state has
    /** @type {ReturnType<typeof tellOfViews>} */
    let told;
    /** @type {Set<View<Change>>} */
    const views = new Set();
    /** @param {Change | null} change */
    const update = (change) => views.forEach((view) => view.update(change));
    /** @param {Partial<Snapshot> & { number?: number }} snapshot */
    const load = (snapshot) => {
      number = snapshot.number ?? 0;
      state = start(snapshot);
      update(null);
    };
    return {
      /** @param {{ model: Model<T> }} scope */
      initialize({ model }) {
        load(model.get("snapshot") ?? {});
        told = tellOfViews(model, views);
        /**
         * @param {Shown | NewSnapshot | NewChange} message
         * @param {(DataView | ArrayBuffer)[]} [buffers]
         */
        const receive = (message, buffers) => {
          putBack(message, buffers);
          if (message.kind === "shown") return told.tellSoon();
          if (message.kind === "snapshot") return load(message.snapshot);
          if (message.kind !== "change" || message.number <= number) return;
          const next = message.number === number + 1 ? apply(state, message) : null;
          if (next === null) return model.send({ kind: "resync" }); // one was lost, or does not fit
          number = message.number;
          state = next;
          update(message);
        };
        model.on("msg:custom", receive);
        return () => {
          told.end();
          model.off("msg:custom", receive);
        };
      },
      /** @param {{ model: Model<T>, el: HTMLElement, host: Host }} scope */
      render({ model, el, host }) {
        const heard = whileHeard(model);
        const { body, end } = frame(heard, el, showsError, keys);
        const view = draw(body, { model: heard, state: () => state, host });
        views.add(view);
        view.update(null);
        if (views.size === 1) told.tell();
        return () => {
          views.delete(view);
          if (!views.size) told.tellSoon();
          end();
          view.destroy?.();
        };
      },
    };
  };
}

/**
 * Where a view draws, below the error of the last action.
 *
 * @param {Pick<Model, "get" | "send" | "on" | "off" | "widget_manager">} model
 * @param {HTMLElement} el
 * @param {boolean} showsError
 * @param {Record<string, string>} keys
 */
function frame(model, el, showsError, keys) {
  const banner = element("div", { class: "mullama-error", role: "alert", hidden: true });
  const body = element("div", { class: "mullama-body" });
  el.classList.add("mullama");
  el.replaceChildren(...(showsError ? [banner] : []), body);
  holdPresses(el);
  keepKeys(el, keys, (action) => send(model, action));
  const leave = keepFocus(el);
  const warn = () => {
    banner.textContent = model.get("error");
    banner.hidden = !banner.textContent;
  };
  warn();
  model.on("change:error", warn);
  let restore = () => {};
  const unwatch = watchLife(model, (why) => {
    restore = showEnded(el, body, why);
  });
  const end = () => {
    unwatch();
    restore();
    leave();
    model.off("change:error", warn);
  };
  return { body, end };
}
