// @ts-check
// Whether somebody still hears a view: a kernel that ended or began anew knows nothing of it.

import { element } from "./dom.js";

/** @import { Model } from "./kernel.js" */

const ENDED = "mullama-ended";
const CONTROLS = ["button", "input", "select", "textarea"].map((name) => `${name}:enabled`).join();

/**
 * Why a widget is heard no longer; empty as long as it is, and where the page does not tell.
 *
 * JupyterLab drops a kernel's channels when it ends or begins anew, and keeps them while it is busy
 * or out of reach for a time. What a saved notebook holds from an earlier kernel never has one.
 *
 * @param {Pick<Model, "get" | "widget_manager">} model
 */
export function whyUnheard(model) {
  const { kernel } = model.widget_manager ?? {};
  if (kernel === undefined) return "";
  if (kernel === null || kernel.isDisposed) return "The kernel was shut down: run the cell again.";
  const channel = model.get("_comm_id");
  if (!channel || !kernel.hasComm || kernel.handleComms === false) return "";
  return kernel.hasComm(channel) ? "" : "The kernel was restarted: run the cell again.";
}

/**
 * The model of a view, which says nothing when nobody hears it.
 *
 * @template {Pick<Model, "get" | "send" | "widget_manager">} M
 * @param {M} model
 * @returns {M}
 */
export function whileHeard(model) {
  return {
    ...model,
    send: (/** @type {object} */ message) => {
      if (!whyUnheard(model)) model.send(message);
    },
  };
}

/**
 * Call back once, when a widget is heard no longer; at once where that is so already.
 *
 * @param {Pick<Model, "get" | "widget_manager">} model
 * @param {(why: string) => void} tell
 * @returns {() => void} to stop watching
 */
export function watchLife(model, tell) {
  const kernel = model.widget_manager?.kernel;
  const signals = [kernel?.statusChanged, kernel?.disposed];
  let isOver = false;
  const leave = () => {
    isOver = true;
    signals.forEach((signal) => signal?.disconnect(lookSoon));
  };
  const look = () => {
    const why = isOver ? "" : whyUnheard(model);
    if (!why) return;
    leave();
    tell(why);
  };
  // Soon, as a kernel says first that it begins anew and drops its channels then.
  const lookSoon = () => queueMicrotask(look);
  signals.forEach((signal) => signal?.connect(lookSoon));
  look();
  return leave;
}

/**
 * Show that nobody hears a view: it can be read, but nothing in it does anything.
 *
 * @param {HTMLElement} el the widget's root
 * @param {HTMLElement} body
 * @param {string} why
 */
export function showEnded(el, body, why) {
  el.classList.add(ENDED);
  el.prepend(element("div", { class: "mullama-why", role: "alert" }, why));
  const disable = () => {
    for (const control of body.querySelectorAll(CONTROLS)) control.setAttribute("disabled", "");
  };
  disable();
  const observer = new MutationObserver(disable);
  observer.observe(body, { subtree: true, childList: true, attributeFilter: ["disabled"] });
  return () => observer.disconnect();
}
