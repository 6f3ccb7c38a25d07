// @ts-check
// One strip: tokens without a fork between them.

/** @import { Cells } from "./cell_strips.js" */

/** A cell of a strip. @typedef {{ strip: Strip, position: number }} Spot */
/** @typedef {{ id: string, stop: number, bytes: number }} Checkpoint */
/** @typedef {{ stop: number, value: string }} Run counted from the strip's start */
/** @typedef {{ from: number, to: number, role: string, place: string }} Stretch of positions */

/**
 * One token, and what is known of it.
 *
 * @typedef {object} Cell
 * @property {number} position
 * @property {string} text
 * @property {string} role
 * @property {string} place
 * @property {number | null} probability null where it was given
 * @property {number} bytes
 * @property {boolean} isAgain whether it was evaluated again
 * @property {string | null} checkpoint the one that holds it
 * @property {number} index where it is in that checkpoint
 */

export class Strip {
  /**
   * @param {Cells} cells
   * @param {number} number
   * @param {string} id
   */
  constructor(cells, number, id) {
    this.cells = cells;
    this.number = number;
    this.id = id;
    /** @type {Strip | null} */
    this.parent = null;
    this.start = 0;
    this.nActive = 0;
    this.lane = 0;
    /** @type {number[]} */
    this.tokens = []; // indices in the table of texts
    /** @type {number[]} */
    this.probabilities = [];
    /** @type {Checkpoint[]} */
    this.checkpoints = [];
    /** @type {Run[]} */
    this.roles = [];
    /** @type {Run[]} */
    this.places = [];
    /** @type {{ from: number, to: number }[]} */
    this.again = []; // positions that were evaluated again
    /** @type {Stretch[] | null} */
    this.stretches = null;
  }

  get stop() {
    return this.start + this.tokens.length;
  }

  /** Whether the active path goes through it: an answer of several at once is beside that. */
  get isActive() {
    return this.nActive > 0 && !this.id.startsWith("~");
  }

  get activeStop() {
    return this.start + this.nActive;
  }

  /** Its stretches of one role in one place. */
  runs() {
    this.stretches ??= merge(this.start, this.roles, this.places);
    return this.stretches;
  }

  /** @param {number} position @returns {Cell} */
  at(position) {
    const index = position - this.start;
    const which = this.checkpoints.findIndex(({ stop }) => position < stop);
    const checkpoint = which < 0 ? null : this.checkpoints[which];
    const first = which > 0 ? this.checkpoints[which - 1].stop : this.start;
    const probability = this.probabilities[index];
    return {
      position,
      text: this.cells.texts[this.tokens[index]] ?? "",
      role: valueAt(this.roles, index),
      place: valueAt(this.places, index),
      probability: Number.isNaN(probability) ? null : probability,
      bytes: checkpoint ? this.cells.share(checkpoint, first, position) : 0,
      isAgain: this.again.some(({ from, to }) => from <= position && position < to),
      checkpoint: checkpoint?.id ?? null,
      index: position - first,
    };
  }
}

/**
 * @param {Run[]} list
 * @param {number} index
 */
function valueAt(list, index) {
  return list.find(({ stop }) => index < stop)?.value ?? "";
}

/**
 * @param {number} start
 * @param {Run[]} roles
 * @param {Run[]} places
 */
function merge(start, roles, places) {
  /** @type {Stretch[]} */
  const merged = [];
  let from = 0, i = 0, k = 0;
  while (i < roles.length && k < places.length) {
    const to = Math.min(roles[i].stop, places[k].stop);
    const { value: role } = roles[i], { value: place } = places[k];
    if (to > from) {
      merged.push({ from: start + from, to: start + to, role, place });
    }
    from = to;
    if (roles[i].stop === to) i++;
    if (places[k].stop === to) k++;
  }
  return merged;
}
