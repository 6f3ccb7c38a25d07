// @ts-check
// What a view says to the kernel.

import { whyUnheard } from "./life.js";

/**
 * What every widget tells its views; those on a tree and on a chat tell more.
 *
 * @typedef {{ error: string, snapshot: any, _comm_id: string }} Traits
 * @typedef {Traits & { in_cell: boolean }} TreeTraits
 * @typedef {TreeTraits & { is_busy: boolean }} ChatTraits
 */

/**
 * A change of one trait, or a message; several names in one text are known to some front ends only.
 *
 * @template {Traits} T
 * @typedef {`change:${string & keyof T}` | "msg:custom"} Happening
 */

/**
 * The model of a widget, as anywidget hands it over; `widget_manager` is undocumented.
 *
 * @template {Traits} [T=Traits]
 * @typedef {object} Model
 * @property {<Name extends keyof T>(name: Name) => T[Name]} get
 * @property {(message: object) => void} send
 * @property {(name: Happening<T>, listener: (message: any) => void) => void} on
 * @property {(name: Happening<T>, listener: (message: any) => void) => void} off
 * @property {{ kernel?: Kernel | null }} [widget_manager]
 */

/**
 * A page's connection to a kernel, as JupyterLab has it; of other pages some of it.
 *
 * @typedef {object} Kernel
 * @property {() => Promise<void>} [interrupt]
 * @property {(id: string) => boolean} [hasComm]
 * @property {boolean} [handleComms]
 * @property {boolean} [isDisposed]
 * @property {Signal} [statusChanged]
 * @property {Signal} [disposed]
 */

/** @typedef {Record<"connect" | "disconnect", (slot: () => void) => unknown>} Signal */

/**
 * The other widgets of the page, as anywidget hands them over since 0.11. What is shown so goes when
 * the view goes that shows it.
 *
 * @typedef {object} Host
 * @property {(reference: string) => Promise<Shown>} getWidget by the value of a `WidgetTrait`
 */

/** @typedef {{ render: (place: { el: HTMLElement }) => Promise<void> }} Shown */

/**
 * Listen to changes of some traits, until what is returned is called.
 *
 * @template {Traits} T
 * @param {Pick<Model<T>, "on" | "off">} model
 * @param {(string & keyof T)[]} names
 * @param {() => void} listener
 */
export function onChange(model, names, listener) {
  for (const name of names) model.on(`change:${name}`, listener);
  return () => {
    for (const name of names) model.off(`change:${name}`, listener);
  };
}

/**
 * Ask for an action: `do_<action>` of the widget gets the arguments, by name.
 *
 * @param {Pick<Model, "send">} model
 * @param {string} action
 * @param {Record<string, string | number | boolean>} [args]
 */
export function send(model, action, args = {}) {
  model.send({ ...args, kind: "do", action });
}

/**
 * Stop generation. Where the kernel keeps messages waiting until a cell has ended, interrupt it,
 * but not beside a message that it heeds: an interrupt as the cell ends would lose its reply.
 *
 * @param {Model<TreeTraits>} model
 */
export function stop(model) {
  model.send({ kind: "stop" });
  const kernel = model.widget_manager?.kernel;
  setTimeout(() => {
    if (model.get("in_cell") && !whyUnheard(model)) kernel?.interrupt?.()?.catch?.(() => {});
  }, 400);
}
