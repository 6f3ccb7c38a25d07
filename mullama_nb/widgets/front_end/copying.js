// @ts-check
// Buttons that copy: a message, or a block of code in it.

import { button, element, OWN } from "./dom.js";

const SHOWN = 1500; // milliseconds that it says what it has done

/**
 * @param {string} title
 * @param {() => string} text
 */
export function makeCopy(title, text) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const made = button("Copy", title, async () => {
    made.textContent = await copy(text()) ? "Copied" : "Not copied";
    clearTimeout(timer);
    timer = setTimeout(() => made.textContent = "Copy", SHOWN);
  });
  return made;
}

/**
 * Have every block of code in rendered text carry a button that copies it.
 *
 * @param {Element} node
 */
export function addCopies(node) {
  for (const block of node.querySelectorAll("pre")) {
    if (block.querySelector(`.${OWN}`)) continue;
    const made = makeCopy(
      "Copy this code",
      () => block.querySelector("code")?.textContent ?? "",
    );
    made.classList.add(OWN, "mullama-copy");
    block.append(made);
  }
}

/**
 * Copy a text, also on pages without a secure connection, which have no clipboard.
 *
 * @param {string} text
 * @returns {Promise<boolean>} whether it was
 */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

/** @param {string} text */
function copyBySelection(text) {
  const before = document.activeElement;
  const field = element("textarea", { style: "position: fixed; opacity: 0" });
  field.value = text;
  document.body.append(field);
  field.select();
  try {
    return document.execCommand("copy");
  } catch {
    return false;
  } finally {
    field.remove();
    if (before instanceof HTMLElement) before.focus({ preventScroll: true });
  }
}
