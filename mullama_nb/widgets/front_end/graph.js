// @ts-check
// The state of the timeline: its checkpoints, the active path, and what is folded.

import { layOut, placeChild } from "./lanes.js";

/** @import { Place } from "./lanes.js" */

/**
 * A checkpoint as the kernel sends it; the parent of the root is empty. Flags: 1 for an answer that
 * is unfinished, 2 for rows that are not in memory, 4 for a thought, 8 for calls of tools.
 *
 * @typedef {[id: string, parent: string, role: string, text: string, tokens: number, bytes: number,
 *   flags: number]} SentRow
 */

/**
 * @typedef {object} Row
 * @property {string} id
 * @property {string} parent
 * @property {string} role
 * @property {string} text the beginning of it
 * @property {number} tokens
 * @property {number} bytes
 * @property {boolean} isUnfinished
 * @property {boolean} isSpilled
 * @property {boolean} hasThought
 * @property {boolean} hasCalls
 */

/**
 * All checkpoints, parents before their children and siblings in their order.
 *
 * @typedef {{ rows: SentRow[], head: string, tags: Record<string, string> }} Snapshot
 */

/**
 * @typedef {object} Change
 * @property {string[]} [gone] checkpoints that are no more
 * @property {SentRow[]} [rows] checkpoints that are new, or are other than before
 * @property {string} [head]
 * @property {Record<string, string | null>} [tags] tags that were set, or were taken away
 * @property {[text: string, tokens: number]} [live] what an answer has grown by
 * @property {Explored[]} [explored] what answers have grown by that are explored side by side
 *
 * @typedef {[question: string, branch: number, text: string, tokens: number]} Explored
 */

export const LIVE = "live"; // the row of an answer that grows
const LIVE_CHARACTERS = 80;

/** Whether a row is that of an answer that grows; checkpoints have other names. @param {string} id */
export function isLive(id) {
  return id.startsWith(LIVE);
}

/** @param {SentRow} sent @returns {Row} */
function readRow([id, parent, role, text, tokens, bytes, flags]) {
  const isUnfinished = (flags & 1) !== 0;
  const isSpilled = (flags & 2) !== 0;
  const hasThought = (flags & 4) !== 0;
  const hasCalls = (flags & 8) !== 0;
  const states = { isUnfinished, isSpilled, hasThought, hasCalls };
  return { id, parent, role, text, tokens, bytes, ...states };
}

/** The tree as rows from top to bottom. */
export class Graph {
  /** @param {Partial<Snapshot>} snapshot */
  constructor({ rows = [], head = "", tags = {} }) {
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    /** @type {Map<string, string[]>} */
    this.below = new Map(); // children in their order
    /** @type {Set<string>} */
    this.folded = new Set();
    /** @type {Record<string, string>} */
    this.tags = { ...tags };
    /** @type {Row | null} */
    this.live = null;
    /** @type {Map<string, Row[]>} */
    this.explored = new Map(); // answers that grow side by side, by their question
    this.head = head;
    /** @type {Set<string>} */
    this.active = new Set(); // the path to the head
    /** @type {Map<string, string>} */
    this.next = new Map(); // each checkpoint's child on that path
    /** @type {Place[]} */
    this.order = []; // what is to be seen
    /** @type {Map<string, number>} */
    this.place = new Map(); // where it is in that order
    for (const row of rows) this.adopt(readRow(row));
    this.arrange();
    this.move(head);
  }

  /**
   * Take a row in, behind its siblings; whether it is new.
   *
   * @param {Row} row
   */
  adopt(row) {
    const isNew = !this.rows.has(row.id);
    this.rows.set(row.id, row);
    const siblings = this.below.get(row.parent);
    if (isNew && siblings) siblings.push(row.id);
    else if (isNew) this.below.set(row.parent, [row.id]);
    return isNew;
  }

  /** @param {string} id */
  children(id) {
    return this.below.get(id) ?? [];
  }

  /** Whether there is anything that a checkpoint could hide. @param {string} id */
  canFold(id) {
    return this.children(id).length > 0 && (id === this.head || !this.active.has(id));
  }

  arrange() {
    const [root] = this.children("");
    const seen = (/** @type {string} */ id) => (this.folded.has(id) ? [] : this.children(id));
    this.order = root === undefined ? [] : layOut(root, seen);
    this.place = new Map(this.order.map(({ id }, i) => [id, i]));
  }

  /**
   * Put a row into its place without looking at the others.
   *
   * @param {Row} row
   */
  insert(row) {
    if (!this.adopt(row)) return;
    const at = this.place.get(row.parent);
    if (at === undefined || this.folded.has(row.parent)) return; // it is not to be seen
    const [first] = this.children(row.parent);
    const isFirst = first === row.id;
    const place = placeChild(this.order[at], row.id, isFirst);
    this.splice(isFirst ? at + 1 : /** @type {number} */ (this.place.get(first)), 0, place);
  }

  /**
   * @param {number} at
   * @param {number} n rows to take out
   * @param {Place[]} places to put in
   */
  splice(at, n, ...places) {
    for (const { id } of this.order.splice(at, n, ...places)) this.place.delete(id);
    for (let i = at; i < this.order.length; i++) this.place.set(this.order[i].id, i);
  }

  /** @param {string} id */
  drop(id) {
    const row = this.rows.get(id);
    if (!row) return;
    this.rows.delete(id);
    this.folded.delete(id);
    const others = this.children(row.parent).filter((other) => other !== id);
    if (others.length) this.below.set(row.parent, others);
    else this.below.delete(row.parent);
  }

  /** @param {string} head */
  move(head) {
    this.head = head;
    this.active = new Set();
    this.next = new Map();
    for (let row = this.rows.get(head); row; row = this.rows.get(row.parent)) {
      this.active.add(row.id);
      this.next.set(row.parent, row.id);
    }
    this.reveal(head);
  }

  /** Unfold what hides a checkpoint. @param {string} id */
  reveal(id) {
    if (this.place.has(id) || !this.rows.has(id)) return;
    for (let row = this.rows.get(id); row; row = this.rows.get(row.parent)) {
      this.folded.delete(row.parent);
    }
    this.arrange();
  }

  /**
   * @param {string} id
   * @param {boolean} folded
   */
  fold(id, folded) {
    if (!folded) this.folded.delete(id);
    else if (this.canFold(id)) this.folded.add(id);
    this.arrange();
  }

  /** Fold every branch beside the active path, or unfold all. @param {boolean} on */
  focusPath(on) {
    this.folded.clear();
    for (const id of on ? this.active : []) {
      for (const child of this.children(id)) {
        if (!this.active.has(child) && this.children(child).length) this.folded.add(child);
      }
    }
    this.arrange();
  }

  /** A checkpoint with all that follows it. @param {string} id */
  subtree(id) {
    const found = [id];
    for (let i = 0; i < found.length; i++) found.push(...this.children(found[i]));
    return found;
  }

  /** @param {[text: string, tokens: number]} grown */
  grow([text, tokens]) {
    if (!this.rows.has(this.head)) return;
    if (!this.live) {
      this.live = readRow([LIVE, this.head, "", "", 0, 0, 0]);
      this.insert(this.live);
      this.next.set(this.head, LIVE);
      this.active.add(LIVE);
    }
    this.live.text = (this.live.text + text).slice(-LIVE_CHARACTERS);
    this.live.tokens += tokens;
  }

  /** @param {Explored} grown */
  growExplored([question, branch, text, tokens]) {
    if (!this.rows.has(question)) return;
    const answers = this.explored.get(question) ?? [];
    const id = `${LIVE} ${question} ${branch}`;
    let row = answers.find((each) => each.id === id);
    if (!row) {
      row = readRow([id, question, "", "", 0, 0, 0]);
      this.explored.set(question, [...answers, row]);
      this.insert(row);
    }
    row.text = (row.text + text).slice(-LIVE_CHARACTERS);
    row.tokens += tokens;
  }

  /** Answers to a question are checkpoints now, or went with it. @param {string} question */
  settleExplored(question) {
    const answers = this.explored.get(question);
    if (!answers) return;
    this.explored.delete(question);
    for (const { id } of answers) this.drop(id);
    this.arrange();
  }

  /** What grew is a checkpoint now, or was dropped. */
  settle() {
    if (!this.live) return;
    const at = this.place.get(LIVE);
    this.active.delete(LIVE);
    this.next.delete(this.live.parent);
    this.drop(LIVE);
    this.live = null;
    if (at !== undefined) this.splice(at, 1);
  }

  /** @param {Change} change */
  apply(change) {
    const { gone, rows = [], head, tags = {}, live, explored = [] } = change;
    if (head) this.settle();
    for (const [id, parent] of rows) if (!this.rows.has(id)) this.settleExplored(parent);
    if (gone) {
      for (const id of gone) this.settleExplored(id);
      for (const id of gone) this.drop(id);
      for (const row of rows) this.adopt(readRow(row));
      this.arrange();
    } else {
      for (const row of rows) this.insert(readRow(row));
    }
    for (const [tag, id] of Object.entries(tags)) {
      if (id) this.tags[tag] = id;
      else delete this.tags[tag];
    }
    if (head) this.move(head);
    if (live) this.grow(live);
    for (const grown of explored) this.growExplored(grown);
  }
}
