// @ts-check
// Which checkpoints share a row, the same as in `mullama_nb.history.layout`: the segments of one
// message, which was resumed or forked inside.

/** @import { Row } from "./graph.js" */

/** The checkpoints of a tree, and which of them have rows. */
export class Segments {
  constructor() {
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    /** @type {Map<string, string[]>} */
    this.below = new Map(); // children in their order
  }

  /** @param {string} id */
  children(id) {
    return this.below.get(id) ?? [];
  }

  /** @param {string} id */
  continues(id) {
    return this.rows.get(id)?.continues ?? false;
  }

  /** @param {string} id */
  rests(id) {
    return this.children(id).filter((child) => this.continues(child));
  }

  /** Whether a message ends here, for some branch. @param {string} id */
  hasRow(id) {
    const rests = this.rests(id);
    const isAnswer = this.rows.get(id)?.isAnswer ?? false;
    return !rests.length || (isAnswer && rests.length < this.children(id).length);
  }

  /** The checkpoint in whose row one is drawn. @param {string} id */
  rowOf(id) {
    while (!this.hasRow(id)) [id] = this.rests(id);
    return id;
  }

  /** The checkpoints of the message that ends at one, last one first. @param {string} end */
  parts(end) {
    const parts = [end];
    for (let id = end; this.continues(id);) {
      id = /** @type {Row} */ (this.rows.get(id)).parent;
      parts.push(id);
    }
    return parts;
  }

  /** The row that one follows; none of the root. @param {string} end */
  parentRow(end) {
    const begin = /** @type {string} */ (this.parts(end).at(-1));
    const parent = this.rows.get(begin)?.parent;
    return parent ? this.rowOf(parent) : "";
  }

  /** The rows that follow one. @param {string} end */
  rowsBelow(end) {
    /** @type {string[]} */
    const found = [];
    for (let at = end;;) {
      for (const child of this.children(at)) if (!this.continues(child)) this.addEnds(child, found);
      const before = this.continues(at) ? /** @type {Row} */ (this.rows.get(at)).parent : "";
      if (!before || this.hasRow(before) || this.rests(before)[0] !== at) return found;
      at = before;
    }
  }

  /**
   * @param {string} begin of a message
   * @param {string[]} found where its versions end
   */
  addEnds(begin, found) {
    const rests = this.rests(begin);
    const isOther = (/** @type {string} */ child) => !this.continues(child);
    const nOlder = this.hasRow(begin) ? Math.max(0, this.children(begin).findIndex(isOther)) : 0;
    for (const rest of rests.slice(0, nOlder)) this.addEnds(rest, found);
    if (this.hasRow(begin)) found.push(begin);
    for (const rest of rests.slice(nOlder)) this.addEnds(rest, found);
  }

  /** How many tokens an answer shares with an older version, as it was forked inside. @param {string} end */
  sharedTokens(end) {
    if (!this.rows.get(end)?.isAnswer) return 0;
    const parts = this.parts(end);
    const at = parts.findIndex((part, i) => {
      const [older] = this.children(part);
      return older !== undefined && older !== parts[i - 1] && this.continues(older);
    });
    return at < 0 ? 0 : this.tokensOf(parts.slice(at));
  }

  /** @param {string[]} parts */
  tokensOf(parts) {
    return parts.reduce((n, part) => n + (this.rows.get(part)?.tokens ?? 0), 0);
  }

  /** The first checkpoint that belongs to a row alone. @param {string} end */
  ownBegin(end) {
    let at = end;
    while (this.continues(at)) {
      const before = /** @type {Row} */ (this.rows.get(at)).parent;
      if (this.children(before).length > 1) break;
      at = before;
    }
    return at;
  }

  /** A checkpoint with all that follows it. @param {string} id */
  subtree(id) {
    const found = [id];
    for (let i = 0; i < found.length; i++) found.push(...this.children(found[i]));
    return found;
  }

  /** How many rows follow one. @param {string} end */
  countBelow(end) {
    const found = this.rowsBelow(end);
    for (let i = 0; i < found.length; i++) found.push(...this.rowsBelow(found[i]));
    return found.length;
  }
}
