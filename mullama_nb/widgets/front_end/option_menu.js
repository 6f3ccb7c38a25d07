// @ts-check
// The chat's own sampling and limits, each group in a small menu.

import { element, onEnter } from "./dom.js";
import { send } from "./kernel.js";

/** @import { Footer } from "./footer.js" */
/** @import { PanelModel } from "./message_tokens.js" */

/** @typedef {Record<string, number | null>} Options null: none */

/**
 * @typedef {object} Field
 * @property {string} name of the option in Python
 * @property {string} label
 * @property {string} none what stands for no value
 * @property {(number | null)[]} presets
 */

/** @type {(name: string, label: string, none?: string, presets?: (number | null)[]) => Field} */
const field = (name, label, none = "", presets = []) => ({ name, label, none, presets });

/** @type {{ label: string, fields: Field[] }[]} */
export const MENUS = [
  {
    label: "Temperature",
    fields: [field("temperature", "Temperature", "", [0, 0.3, 0.7, 0.8, 1, 1.5])],
  },
  {
    label: "Length",
    fields: [field("max_tokens", "Tokens at most", "no limit", [50, 200, 1000, null])],
  },
  {
    label: "Sampling",
    fields: [
      field("top_k", "Top-k"),
      field("top_p", "Top-p"),
      field("min_p", "Min-p"),
      field("repetition_penalty", "Repetition penalty"),
      field("seed", "Seed", "another each time"),
      field("reasoning_budget", "Thought, at most", "no limit"),
    ],
  },
];

/**
 * What a menu's button says of its options.
 *
 * @param {{ label: string, fields: Field[] }} menu
 * @param {Options} options
 * @param {Options} defaults
 */
export function wordsOf({ label, fields }, options, defaults) {
  if (fields.length === 1) {
    const [{ name, none }] = fields;
    return `${label} ${options[name] ?? none}`;
  }
  const n = fields.filter(({ name }) => options[name] !== defaults[name]).length;
  return n ? `${label} (${n} set)` : label;
}

/** @param {PanelModel} model */
export function makeMenus(model) {
  const menus = MENUS.map((menu) => makeMenu(model, menu));
  const nodes = menus.map(({ node }) => node);
  return {
    node: element("div", { class: "mullama-option-menus" }, nodes),
    /** @param {Footer} footer */
    update(footer) {
      menus.forEach((menu) => menu.update(footer));
    },
  };
}

/**
 * @param {PanelModel} model
 * @param {{ label: string, fields: Field[] }} menu
 */
function makeMenu(model, menu) {
  let asks = false; // whether an error that comes is about a value from here
  const set = (/** @type {string} */ name, /** @type {string} */ value) => {
    asks = true;
    send(model, "set", { name, value });
  };
  const rows = menu.fields.map((each) => makeField(each, set, () => sheet.hidePopover()));
  const fault = element("div", { class: "mullama-option-fault", hidden: true });
  const names = { role: "dialog", "aria-label": menu.label, popover: "auto" };
  const own = { "data-lm-suppress-shortcuts": "true" }; // JupyterLab's Escape would leave the field
  const sheet = element(
    "div",
    { class: "mullama-option-sheet", ...names, ...own },
    rows.map(({ node }) => node),
    fault,
  );
  const attributes = { type: "button", "aria-haspopup": "dialog", "aria-expanded": "false" };
  const button = element("button", attributes);
  button.popoverTargetElement = sheet;
  let before = new DOMRect(); // where the button was when it opened
  // Something else may scroll, such as the log while an answer grows.
  const closeIfMoved = () => {
    const { left, top } = button.getBoundingClientRect();
    if (left !== before.left || top !== before.top) sheet.hidePopover();
  };

  sheet.addEventListener("toggle", (event) => {
    const isOpen = /** @type {ToggleEvent} */ (event).newState === "open";
    button.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) {
      before = button.getBoundingClientRect();
      place(sheet, before);
      rows[0].input.select();
      button.ownerDocument.addEventListener("scroll", closeIfMoved, { capture: true });
    } else {
      asks = false;
      button.ownerDocument.removeEventListener("scroll", closeIfMoved, { capture: true });
    }
  });
  return {
    node: element("div", { class: "mullama-option-menu" }, button, sheet),
    /** @param {Footer} footer */
    update({ options, defaults, thinks }) {
      button.textContent = wordsOf(menu, options, defaults);
      rows.forEach((row) => row.update(options, defaults, thinks));
      fault.textContent = asks ? model.get("error") : "";
      fault.hidden = !fault.textContent;
    },
  };
}

/**
 * @param {Field} field
 * @param {(name: string, value: string) => void} send
 * @param {() => void} close
 */
function makeField({ name, label, none, presets }, send, close) {
  let value = "";
  const set = (/** @type {string} */ next) => {
    if (next !== value) send(name, next);
  };
  const attributes = { inputmode: "decimal", size: 8, autocomplete: "off", onblur: back };
  const input = element("input", attributes);
  const take = () => set(input.value.trim());
  onEnter(input, take, close);
  input.addEventListener("change", take);
  const buttons = presets.map((preset) => {
    const text = preset === null ? none : String(preset);
    const onclick = () => {
      set(preset === null ? "" : String(preset));
      close();
    };
    return { preset, node: element("button", { type: "button", onclick }, text) };
  });
  const node = element(
    "div",
    { class: "mullama-option" },
    element("label", {}, element("span", {}, label), input),
    buttons.length
      ? element("div", { class: "mullama-presets" }, buttons.map(({ node }) => node))
      : null,
  );
  function back() {
    input.value = value;
  }
  return {
    node,
    input,
    /**
     * @param {Options} options
     * @param {Options} defaults
     * @param {boolean} thinks
     */
    update(options, defaults, thinks) {
      const now = options[name] ?? null;
      const text = now === null ? "" : String(now);
      if (text !== value || !input.matches(":focus")) input.value = text;
      value = text;
      input.placeholder = none || String(defaults[name] ?? "");
      node.hidden = name === "reasoning_budget" && !thinks && now === null;
      for (const { preset, node } of buttons) {
        node.setAttribute("aria-pressed", String(preset === now));
      }
    },
  };
}

/**
 * Put a sheet above its button, or below where there is no room, within the window; from there it
 * may grow.
 *
 * @param {HTMLElement} sheet
 * @param {DOMRect} at where its button is
 */
function place(sheet, at) {
  const { offsetWidth: width, offsetHeight: height, style } = sheet;
  const { innerWidth, innerHeight } = globalThis;
  const isAbove = at.top - height >= 8;
  style.left = `${Math.max(4, Math.min(at.left, innerWidth - width - 4))}px`;
  style.top = isAbove ? "auto" : `${at.bottom + 4}px`;
  style.bottom = isAbove ? `${innerHeight - at.top + 4}px` : "auto";
}
