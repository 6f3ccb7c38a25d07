// @ts-check
// The rule of lanes, the same as in `mullama_nb.history.layout`: one row for each message, one lane
// for each branch. Siblings lie below each other, the oldest first; the youngest goes on in its
// parent's lane, and those before it lie a lane further in, so that a lane's line is never crossed.

/**
 * A lane whose line goes past a row, on its way down from a checkpoint to its younger children.
 *
 * @typedef {{ lane: number, from: string }} Line
 */

/**
 * A checkpoint in its place.
 *
 * @typedef {{ id: string, lane: number, lines: Line[] }} Place
 */

/**
 * Where a child of a checkpoint lies.
 *
 * @param {Place} parent
 * @param {string} id
 * @param {boolean} isLast
 * @returns {Place}
 */
export function placeChild(parent, id, isLast) {
  if (isLast) return { id, lane: parent.lane, lines: parent.lines };
  const line = { lane: parent.lane, from: parent.id };
  return { id, lane: parent.lane + 1, lines: [...parent.lines, line] };
}

/**
 * All checkpoints that are to be seen, from top to bottom; parents come before their children.
 *
 * @param {string} root
 * @param {(id: string) => string[]} childrenOf none of a checkpoint that is folded
 */
export function layOut(root, childrenOf) {
  /** @type {Place[]} */
  const rows = [];
  /** @type {Place[]} */
  const stack = [{ id: root, lane: 0, lines: [] }];
  for (let place = stack.pop(); place; place = stack.pop()) {
    rows.push(place);
    const children = childrenOf(place.id);
    const last = children.length - 1;
    for (let i = last; i >= 0; i--) stack.push(placeChild(place, children[i], i === last));
  }
  return rows;
}
