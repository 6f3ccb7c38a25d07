// @ts-check
// The rule of lanes, the same as in `mullama_nb.history.drawing`: one row for each checkpoint, one
// lane for each branch. The first child goes on in its parent's lane; the others come before it,
// each a lane further in, so that a lane's line is never crossed.

/**
 * A lane whose line goes past a row, on its way down from a checkpoint to its first child.
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
 * @param {boolean} isFirst
 * @returns {Place}
 */
export function placeChild(parent, id, isFirst) {
  if (isFirst) return { id, lane: parent.lane, lines: parent.lines };
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
    const [first, ...others] = childrenOf(place.id);
    if (first !== undefined) stack.push(placeChild(place, first, true));
    for (const other of others.reverse()) stack.push(placeChild(place, other, false));
  }
  return rows;
}
