// @ts-check
// The state of the timeline: its checkpoints, the active path, and what is folded.

import { layOut, placeChild } from "./lanes.js";
import { Segments } from "./segments.js";

/** @import { Place } from "./lanes.js" */

/**
 * A checkpoint as the kernel sends it; the parent of the root is empty. Flags: 1 for an answer that
 * is unfinished, 2 for rows that are not in memory, 4 for a thought, 8 for calls of tools, 16 for
 * one that goes on with the message of its parent, 32 for the model's.
 *
 * @typedef {[id: string, parent: string, role: string, text: string, tokens: number, bytes: number,
 *   flags: number]} SentRow
 */

/**
 * @typedef {object} Row
 * @property {string} id
 * @property {string} parent
 * @property {string} role what it is called in pictures
 * @property {string} text the beginning of its message
 * @property {number} tokens
 * @property {number} bytes
 * @property {boolean} isUnfinished
 * @property {boolean} isSpilled
 * @property {boolean} hasThought
 * @property {boolean} hasCalls
 * @property {boolean} continues whether it goes on with the message of its parent
 * @property {boolean} isAnswer
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
const CONTINUES = 16, ANSWER = 32; // flags

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
  const continues = (flags & CONTINUES) !== 0;
  const isAnswer = (flags & ANSWER) !== 0;
  const states = { isUnfinished, isSpilled, hasThought, hasCalls, continues, isAnswer };
  return { id, parent, role, text, tokens, bytes, ...states };
}

/** The tree as rows from top to bottom. */
export class Graph extends Segments {
  /** @param {Partial<Snapshot>} snapshot */
  constructor({ rows = [], head = "", tags = {} }) {
    super();
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
    this.active = new Set(); // the rows on the way to the head
    /** @type {Map<string, string>} */
    this.next = new Map(); // each row's child on that way
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

  /** The row of the head. */
  get headRow() {
    return this.rows.has(this.head) ? this.rowOf(this.head) : "";
  }

  /** Whether there is anything that a row could hide. @param {string} id */
  canFold(id) {
    return this.rowsBelow(id).length > 0 && (id === this.headRow || !this.active.has(id));
  }

  arrange() {
    const [root] = this.children("");
    for (const id of this.folded) if (!this.hasRow(id)) this.folded.delete(id);
    const seen = (/** @type {string} */ id) => (this.folded.has(id) ? [] : this.rowsBelow(id));
    this.order = root === undefined ? [] : layOut(root, seen);
    this.place = new Map(this.order.map(({ id }, i) => [id, i]));
  }

  /**
   * Put a row into its place; an only child needs no look at the others.
   *
   * @param {Row} row
   */
  insert(row) {
    if (!this.adopt(row)) return;
    const at = this.place.get(row.parent);
    if (row.continues || this.children(row.parent).length > 1) this.arrange();
    else if (at === undefined || this.folded.has(row.parent)) return; // it is not to be seen
    else this.splice(at + 1, 0, placeChild(this.order[at], row.id, true));
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
    this.trace();
    this.reveal(head);
  }

  /** Find the way to the head, or to what grows behind it. */
  trace() {
    this.active = new Set();
    this.next = new Map();
    let row = this.live ? LIVE : this.headRow;
    while (row) {
      this.active.add(row);
      const before = this.parentRow(row);
      if (before) this.next.set(before, row);
      row = before;
    }
  }

  /** Unfold what hides a checkpoint. @param {string} id */
  reveal(id) {
    if (!this.rows.has(id)) return;
    const row = this.rowOf(id);
    if (this.place.has(row)) return;
    for (let at = row; at; at = this.parentRow(at)) this.folded.delete(this.parentRow(at));
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
      for (const child of this.rowsBelow(id)) {
        if (!this.active.has(child) && this.rowsBelow(child).length) this.folded.add(child);
      }
    }
    this.arrange();
  }

  /** @param {[text: string, tokens: number]} grown */
  grow([text, tokens]) {
    const head = this.rows.get(this.head);
    if (!head) return;
    if (!this.live) {
      const flags = head.isAnswer ? CONTINUES | ANSWER : ANSWER; // an answer answers somebody else
      this.live = readRow([LIVE, this.head, "", "", 0, 0, flags]);
      this.insert(this.live);
      this.trace();
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
      row = readRow([id, question, "", "", 0, 0, ANSWER]);
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
    const { parent, continues } = this.live;
    const at = this.place.get(LIVE);
    this.drop(LIVE);
    this.live = null;
    if (continues || this.children(parent).length) this.arrange();
    else if (at !== undefined) this.splice(at, 1);
    this.trace();
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
    else if (gone || rows.length) this.trace();
    if (live) this.grow(live);
    for (const grown of explored) this.growExplored(grown);
  }
}
