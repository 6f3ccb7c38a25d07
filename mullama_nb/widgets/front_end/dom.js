// @ts-check
// Elements: making them, and having them show HTML that changes little by little.

import { SUPPRESS } from "./keys.js";

/**
 * @typedef {string | number | boolean | null | undefined | ((event: any) => unknown)} Attribute
 * @typedef {Node | string | number | null | undefined} Child
 */

/**
 * Make an element; text is text, never markup. Attributes named on* are listeners.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, Attribute>} [attributes] true: there, without a value; false, null: not there
 * @param {(Child | Child[])[]} children
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, String(value));
  }
  for (const child of children.flat()) {
    if (child != null) made.append(child instanceof Node ? child : String(child));
  }
  return made;
}

/**
 * Make an element of a drawing.
 *
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {(Node | string)[]} children
 */
export function shape(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/**
 * A button whose title says what it does.
 *
 * @param {string} label
 * @param {string} title
 * @param {(event: MouseEvent) => unknown} onclick
 */
export function button(label, title, onclick) {
  const name = nameOf(label, title);
  return element("button", { type: "button", title, "aria-label": name, onclick }, label);
}

/**
 * What a button is called where it is read out: who steers by voice says what is written on it.
 *
 * @param {string} label
 * @param {string} title
 */
export function nameOf(label, title) {
  const isSaid = title.toLowerCase().includes(label.toLowerCase());
  return isSaid || !/\p{L}/u.test(label) ? title : `${label}: ${title}`;
}

/**
 * Show HTML that the kernel has rendered and cleaned; what is the same already is left alone.
 *
 * @param {Element} node
 * @param {string} html
 */
export function renew(node, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  match(node, template.content);
}

export const OWN = "mullama-own"; // what was put into rendered HTML, and stays there

/**
 * @param {Node} old
 * @param {Node} made
 */
function match(old, made) {
  const wanted = [...made.childNodes];
  const present = [...old.childNodes].filter((node) => !isOwn(node));
  wanted.forEach((next, i) => {
    const now = present[i];
    if (!now) old.appendChild(next);
    else if (now.isEqualNode(next)) return;
    else if (now instanceof Text && next instanceof Text) {
      if (next.data.startsWith(now.data)) now.appendData(next.data.slice(now.data.length));
      else now.data = next.data;
    } else if (bare(now).isEqualNode(next.cloneNode())) match(now, next);
    else now.replaceWith(next);
  });
  for (const rest of present.slice(wanted.length)) rest.remove();
}

/** A node as it came: without what it holds, and what it has got for its keys. @param {Node} node */
function bare(node) {
  const copy = node.cloneNode();
  if (copy instanceof Element) ["tabindex", SUPPRESS].forEach((name) => copy.removeAttribute(name));
  return copy;
}

/** @param {Node} node */
function isOwn(node) {
  return node instanceof Element && node.classList.contains(OWN);
}

/**
 * Keep the keys of a field from the notebook; Enter, without Shift, does what the field is for.
 *
 * @template {HTMLElement} Field
 * @param {Field} field
 * @param {() => unknown} done
 * @param {() => unknown} [cancel] for Escape
 */
export function onEnter(field, done, cancel = () => {}) {
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") cancel();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    done();
  });
  return field;
}
