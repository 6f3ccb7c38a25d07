// @ts-check
// The calls of tools in an answer.

import { element } from "./dom.js";
import { plural } from "./format.js";
import { letKeysScroll } from "./scrolling.js";
import { keepKeys } from "./thought.js";

/** @typedef {[name: string, args: string]} Call a tool and its arguments as JSON */

const LONG = 12; // lines from which the arguments are folded

/** Draw calls; they are drawn anew only when they are others. */
export function makeCalls() {
  const node = element("div", { class: "mullama-calls" });
  let shown = "";
  return {
    node,
    /**
     * @param {Call[]} calls
     * @param {string} written what the model has written so far of a call that comes
     */
    update(calls, written) {
      const key = JSON.stringify([calls, written]);
      if (key === shown) return;
      shown = key;
      node.replaceChildren(
        ...calls.map(drawCall),
        ...(written ? [drawWritten(written)] : []),
      );
      node.hidden = !node.childElementCount;
    },
  };
}

/** @param {Call} call */
function drawCall([name, args]) {
  const n = args.split("\n").length;
  const tool = element("code", { class: "mullama-call-name" }, name);
  const json = letKeysScroll(element("pre", {}, args));
  if (n === 1) return element("div", { class: "mullama-call" }, tool, json);
  const size = element("span", {}, plural(n, "line"));
  const summary = element("summary", { onkeydown: keepKeys }, tool, size);
  return element(
    "details",
    { class: "mullama-call", open: n < LONG },
    summary,
    json,
  );
}

/** @param {string} written */
function drawWritten(written) {
  return element(
    "div",
    { class: "mullama-call grows" },
    letKeysScroll(element("pre", {}, written)),
  );
}
