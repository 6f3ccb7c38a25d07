// @ts-check
// What floats above the page, in its top layer: nothing clips it or moves below it.

const APART = 4; // pixels

/** @typedef {{ left: number, top: number, right: number, bottom: number }} Box */

/**
 * Show an element above all others. It has to have `popover="manual"`.
 *
 * @param {HTMLElement} node
 */
export function float(node) {
  node.hidden = false;
  if (node.isConnected && !node.matches(":popover-open")) node.showPopover?.();
}

/** @param {HTMLElement} node */
export function sink(node) {
  if (node.isConnected && node.matches(":popover-open")) node.hidePopover?.();
  node.hidden = true;
}

/**
 * Put a floating element with a corner at a point, as far as the window has room.
 *
 * @param {HTMLElement} node
 * @param {number} x
 * @param {number} y
 */
export function placeAt(node, x, y) {
  const { offsetWidth: width, offsetHeight: height } = node;
  const right = innerWidth - width - APART, bottom = innerHeight - height - APART;
  node.style.left = `${Math.max(APART, Math.min(x, right))}px`;
  node.style.top = `${
    Math.max(APART, y > bottom && y > height ? y - height : Math.min(y, bottom))
  }px`;
}

/**
 * Put a floating element to the side of another, at the height of one of its rows; where neither
 * side has room for it, below or above.
 *
 * @param {HTMLElement} node
 * @param {Box} area
 * @param {Box} row
 */
export function placeBeside(node, area, row) {
  const { offsetWidth: width, offsetHeight: height } = node;
  if (area.left >= width + 2 * APART) placeAt(node, area.left - width - APART, row.top);
  else if (innerWidth - area.right >= width + 2 * APART) placeAt(node, area.right + APART, row.top);
  else if (innerHeight - area.bottom >= height + APART) {
    placeAt(node, area.left, area.bottom + APART);
  } else placeAt(node, area.left, area.top - height - APART);
}
