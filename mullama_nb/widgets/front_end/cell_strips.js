// @ts-check
// The strips of cells, as messages of `history/cell_map/message.py` tell of them.

import { numbers } from "./binary.js";
import { Strip } from "./cell_strip.js";

/** @import { Cost } from "./cell_bar.js" */
/** @import { Steps } from "./cell_steps.js" */
/** @import { Checkpoint, Run, Spot } from "./cell_strip.js" */

/**
 * A message of that module, whole or a change; its arrays are bytes.
 *
 * @typedef {object} Sent
 * @property {boolean} whole
 * @property {number} n_ctx
 * @property {number} n_used
 * @property {"cells" | "window" | "state" | "hybrid"} memory
 * @property {number} window
 * @property {boolean} keeps_states
 * @property {number} first_text
 * @property {string[]} texts
 * @property {number} first_name
 * @property {string[]} names
 * @property {string[]} places
 * @property {number[]} gone
 * @property {string[]} strips
 * @property {string[]} checkpoints
 * @property {DataView} lanes
 * @property {DataView} rows
 * @property {DataView} tokens
 * @property {DataView} probabilities
 * @property {DataView} stops
 * @property {DataView} bytes
 * @property {DataView} role_runs
 * @property {DataView} place_runs
 * @property {DataView} again
 */

/** @typedef {Sent} Snapshot */
/**
 * A change of them, whether the head moved, what that cost, and a question that is asked in steps.
 *
 * @typedef {Partial<Sent> & { moved?: boolean, cost?: Cost | null, steps?: Steps }} Change
 */

const COLUMNS = 10; // of `rows`

export class Cells {
  /** @param {Change} [sent] */
  constructor(sent = {}) {
    this.nCtx = 0;
    this.nUsed = 0;
    /** @type {Sent["memory"]} */
    this.memory = "cells";
    this.window = 0; // tokens that some layers look back; 0 if all see everything
    this.keepsStates = false;
    /** @type {Cost | null} */
    this.cost = null; // of the last move
    /** @type {Steps} */
    this.steps = { question: "", made: [], n_made: 0, is_over: true };
    this.hasMoved = false; // whether the last change moved the head
    /** @type {string[]} */
    this.texts = []; // tables, and the strips by their numbers
    /** @type {string[]} */
    this.names = [];
    /** @type {string[]} */
    this.placeNames = [];
    /** @type {Map<number, Strip>} */
    this.byNumber = new Map();
    /** @type {Strip[]} */
    this.strips = []; // what follows from them
    this.nLanes = this.extent = this.freeFrom = 0;
    /** @type {Set<string>} */
    this.roles = new Set();
    /** @type {Set<string>} */
    this.places = new Set();
    this.hasAgain = false; // whether any were evaluated again
    /** @type {Spot | null} */
    this.end = null; // of the active path
    /** @type {Spot | null} */
    this.tip = null; // the last cell that the context holds, also of answers beside the path
    this.apply(sent);
  }

  forget() {
    this.texts = [];
    this.names = [];
    this.placeNames = [];
    this.byNumber.clear();
  }

  /** Work out what follows from the strips. */
  lookAgain() {
    this.strips = [...this.byNumber.values()];
    /** @type {Strip | null} */
    let end = null, tip = null;
    this.nLanes = this.extent = this.freeFrom = 0;
    this.roles.clear();
    this.places.clear();
    this.hasAgain = false;
    for (const strip of this.strips) {
      this.nLanes = Math.max(this.nLanes, strip.lane + 1);
      this.extent = Math.max(this.extent, strip.stop);
      for (const { value } of strip.roles) this.roles.add(value);
      for (const { value } of strip.places) this.places.add(value);
      this.hasAgain ||= strip.again.length > 0;
      if (strip.nActive && strip.activeStop > (tip?.activeStop ?? 0)) tip = strip;
      if (strip.isActive && strip.activeStop > (end?.activeStop ?? 0)) end = strip;
    }
    this.end = end && { strip: end, position: end.activeStop - 1 };
    this.tip = tip && { strip: tip, position: tip.activeStop - 1 };
    const lane = end?.lane ?? 0;
    for (const strip of this.strips) {
      if (strip.lane === lane) this.freeFrom = Math.max(this.freeFrom, strip.stop);
    }
  }

  /**
   * Take a message in; null if it does not fit what was received before.
   *
   * @param {Change} change
   */
  apply(change) {
    if (change.whole) this.forget();
    if (change.n_ctx !== undefined) this.nCtx = change.n_ctx;
    if (change.n_used !== undefined) this.nUsed = change.n_used;
    this.memory = change.memory ?? this.memory;
    this.window = change.window ?? this.window;
    this.keepsStates = change.keeps_states ?? this.keepsStates;
    this.steps = change.steps ?? this.steps;
    this.hasMoved = change.moved ?? false;
    if (change.cost !== undefined) this.cost = change.cost;
    change.texts?.forEach((text, i) => this.texts[(change.first_text ?? 0) + i] = text);
    change.names?.forEach((name, i) => this.names[(change.first_name ?? 0) + i] = name);
    this.placeNames = change.places ?? this.placeNames;
    for (const number of change.gone ?? []) this.byNumber.delete(number);
    if (change.rows && !this.read(/** @type {Sent} */ (change))) return null;
    const lanes = numbers(change.lanes, Int32Array);
    for (let i = 0; i < lanes.length; i += 2) {
      const strip = this.byNumber.get(lanes[i]);
      if (strip) strip.lane = lanes[i + 1];
    }
    this.lookAgain();
    return this;
  }

  /** Take the strips of a message in; whether they fit. @param {Sent} sent */
  read(sent) {
    const rows = numbers(sent.rows, Int32Array);
    const arrays = {
      tokens: numbers(sent.tokens, Uint32Array),
      probabilities: numbers(sent.probabilities, Float32Array),
      stops: numbers(sent.stops, Int32Array),
      bytes: numbers(sent.bytes, Float64Array),
      roles: numbers(sent.role_runs, Int32Array),
      places: numbers(sent.place_runs, Int32Array),
    };
    const at = { token: 0, checkpoint: 0, role: 0, place: 0 };
    /** @type {[strip: Strip, parent: number][]} */
    const parents = [];
    for (let i = 0; i < sent.strips.length; i++) {
      const [number, parent, start, n, nKept, nActive, nOld, nCheckpoints, nRoles, nPlaces] = rows
        .subarray(COLUMNS * i, COLUMNS * (i + 1));
      const strip = this.byNumber.get(number) ??
        new Strip(this, number, sent.strips[i]);
      if (strip.tokens.length < nKept || strip.checkpoints.length < nOld) return false;
      this.byNumber.set(number, strip);
      Object.assign(strip, { id: sent.strips[i], start, nActive, stretches: null, again: [] });
      parents.push([strip, parent]);
      cut(strip, nKept, nOld);
      const nNew = n - nKept;
      append(strip.tokens, arrays.tokens, at.token, nNew);
      append(strip.probabilities, arrays.probabilities, at.token, nNew);
      for (let k = at.checkpoint; k < at.checkpoint + nCheckpoints; k++) {
        const checkpoint = { stop: arrays.stops[k], bytes: arrays.bytes[k] };
        strip.checkpoints.push({ id: sent.checkpoints[k], ...checkpoint });
      }
      extend(strip.roles, runs(arrays.roles, this.names, at.role, nRoles));
      strip.places = runs(arrays.places, this.placeNames, at.place, nPlaces);
      at.token += nNew;
      at.checkpoint += nCheckpoints;
      at.role += nRoles;
      at.place += nPlaces;
    }
    const again = numbers(sent.again, Int32Array);
    for (let i = 0; i < again.length; i += 3) {
      this.byNumber.get(again[i])?.again.push({ from: again[i + 1], to: again[i + 2] });
    }
    for (const [strip, parent] of parents) strip.parent = this.byNumber.get(parent) ?? null;
    return parents.every(([strip, parent]) => parent < 0 || strip.parent !== null);
  }

  /**
   * A token's share of what its checkpoint keeps.
   *
   * @param {Checkpoint} checkpoint
   * @param {number} first position of the checkpoint's first token
   * @param {number} position
   */
  share({ stop, bytes }, first, position) {
    if (this.keepsStates) return position === stop - 1 ? bytes : 0;
    return bytes / (stop - first);
  }

  /**
   * The cell at a place of the sheet.
   *
   * @param {number} lane
   * @param {number} position
   * @returns {Spot | null}
   */
  spotAt(lane, position) {
    const isThere = (/** @type {Strip} */ strip) =>
      strip.lane === lane && strip.start <= position && position < strip.stop;
    const strip = this.strips.find(isThere);
    return strip ? { strip, position } : null;
  }

  /** The strip in which a path goes on: the active one, or the first. @param {Strip} strip */
  nextOf(strip) {
    /** @type {Strip | null} */
    let found = null;
    for (const other of this.strips) {
      if (other.parent !== strip || other.start === other.stop) continue;
      if (other.isActive) return other;
      if (!found || other.lane < found.lane) found = other;
    }
    return found;
  }

  /** A spot as it is now; null if its cell is no more. @param {Spot | null} spot */
  renew(spot) {
    if (!spot) return null;
    const { strip: { id }, position } = spot;
    const strip = this.strips.find((each) => each.id === id);
    return strip && strip.start <= position && position < strip.stop ? { strip, position } : null;
  }
}

/**
 * @param {number[]} list
 * @param {ArrayLike<number>} values
 * @param {number} from
 * @param {number} n
 */
function append(list, values, from, n) {
  for (let i = from; i < from + n; i++) list.push(values[i]);
}

/**
 * @param {Int32Array} pairs
 * @param {string[]} names
 * @param {number} from
 * @param {number} n
 */
function runs(pairs, names, from, n) {
  return Array.from({ length: n }, (_, i) => ({
    stop: pairs[2 * (from + i)],
    value: names[pairs[2 * (from + i) + 1]],
  }));
}

/**
 * Keep the first tokens of a strip, and the first checkpoints.
 *
 * @param {Strip} strip
 * @param {number} n
 * @param {number} nCheckpoints
 */
function cut(strip, n, nCheckpoints) {
  strip.tokens.length = n;
  strip.probabilities.length = n;
  strip.checkpoints.length = nCheckpoints;
  const last = strip.roles.findIndex(({ stop }) => stop >= n); // the run that reaches the cut
  if (last < 0) return;
  strip.roles.length = n ? last + 1 : 0;
  if (n) strip.roles[last].stop = n;
}

/**
 * Let the last run grow, or begin others.
 *
 * @param {Run[]} list
 * @param {Run[]} more
 */
function extend(list, more) {
  for (const run of more) {
    const last = list.at(-1);
    if (last?.value === run.value) last.stop = run.stop;
    else list.push(run);
  }
}
