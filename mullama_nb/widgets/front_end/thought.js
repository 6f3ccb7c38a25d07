// @ts-check
// What a model thought before it answered: one line, which a reader may open.

import { element, renew } from "./dom.js";
import { plural } from "./format.js";
import { letKeysScroll, letKeysScrollIn } from "./scrolling.js";

/** Draw a thought; it stays open for as long as its reader wants, also while it grows. */
export function makeThought() {
  const words = element("span");
  const summary = element("summary", { onkeydown: keepKeys }, words);
  const content = letKeysScroll(element("div", { class: "mullama-text" }));
  const node = element(
    "details",
    { class: "mullama-thought" },
    summary,
    content,
  );
  let shown = "";
  let html = "";
  const draw = () => {
    if (shown !== html) {
      renew(content, html);
      letKeysScrollIn(content);
    }
    shown = html;
  };
  node.addEventListener("toggle", draw);
  return {
    node,
    /**
     * @param {string} thought as HTML
     * @param {number} n tokens of it
     * @param {boolean} grows whether the model is thinking it
     */
    update(thought, n, grows) {
      html = thought;
      const kind = grows ? "Thinking" : "Thought";
      words.textContent = n ? `${kind} · ${plural(n, "token")}` : kind;
      node.classList.toggle("grows", grows);
      if (node.open || !grows) draw(); // what is folded is drawn once it is whole
    },
  };
}

/** Keep the keys that open and close it from the notebook. @param {KeyboardEvent} event */
export function keepKeys(event) {
  if (event.key === "Enter" || event.key === " ") event.stopPropagation();
}
