// @ts-check
// Keys pressed in a widget are the widget's: a notebook has commands on single letters.

/** Keys that undo and redo, wherever in a widget they are pressed. */
export const STEP_KEYS = { u: "undo", r: "redo" };

export const SUPPRESS = "data-lm-suppress-shortcuts"; // as Lumino has it
const NOT_TEXT = ["button", "checkbox", "radio", "range", "submit"].map((kind) => `[type=${kind}]`);
const TEXT = `textarea, select, [contenteditable], input:not(${NOT_TEXT})`;

/**
 * Keep a widget's keys from the notebook, and have some of them ask for an action.
 *
 * @param {HTMLElement} el the widget's root
 * @param {Record<string, string>} keys
 * @param {(action: string) => void} ask
 */
export function keepKeys(el, keys, ask) {
  el.setAttribute(SUPPRESS, "");
  // Notebook 7 looks for it before the widget hears of a key, and first at what has the focus: its
  // commands are for `.jp-Notebook :focus`, which that is.
  el.addEventListener("focusin", ({ target }) => {
    /** @type {Element} */ (target).setAttribute(SUPPRESS, "");
  });
  /** @param {KeyboardEvent} event */
  const keep = (event) => {
    if (el.parentElement?.closest(".mullama")) return; // what it is a part of may know the key
    event.stopPropagation();
    passOn(event, el);
  };
  el.addEventListener("keydown", (event) => {
    const target = /** @type {Element} */ (event.target);
    const isChord = event.ctrlKey || event.metaKey || event.altKey;
    if (isChord || event.defaultPrevented || target.closest(TEXT)) return;
    const action = keys[event.key];
    if (action === undefined) return;
    event.preventDefault();
    ask(action);
  });
  for (const kind of /** @type {const} */ (["keydown", "keypress", "keyup"])) {
    el.addEventListener(kind, keep);
  }
}

/**
 * Have the notebook save itself, as everywhere on its page: the browser would save the page.
 *
 * @param {KeyboardEvent} event
 * @param {HTMLElement} el
 */
function passOn(event, el) {
  const isSave = event.key === "s" && (event.ctrlKey || event.metaKey);
  if (!isSave || event.type !== "keydown") return;
  const root = el.getRootNode();
  const outside = el.parentElement ?? (root instanceof ShadowRoot ? root.host : null);
  const copy = new KeyboardEvent(event.type, event);
  if (outside && !outside.dispatchEvent(copy)) event.preventDefault();
}
