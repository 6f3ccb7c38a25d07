// @ts-check
// Presses on what moves.

/**
 * Have what moves away below a resting pointer, as more is said, be pressed all the same.
 *
 * @param {HTMLElement} el
 */
export function holdPresses(el) {
  el.addEventListener("pointerdown", (down) => {
    const target = /** @type {Element} */ (down.target);
    const pressed = /** @type {HTMLElement | null} */ (target.closest('button, [role="treeitem"]'));
    if (!pressed || down.button !== 0) return;
    /** @param {PointerEvent} up */
    const end = (up) => {
      removeEventListener("pointerup", end, true);
      removeEventListener("pointercancel", end, true);
      const rests = Math.hypot(up.clientX - down.clientX, up.clientY - down.clientY) < 4;
      if (up.type === "pointerup" && rests && !up.composedPath().includes(pressed)) pressed.click();
    };
    addEventListener("pointerup", end, true);
    addEventListener("pointercancel", end, true);
  });
}
