// @ts-check
// The sheet of cells: a canvas of what is in sight, the cursor, and what a press does.

import { Painter } from "./cell_canvas.js";
import { goTo } from "./cell_keys.js";
import { AXIS, fittingLevel, LEFT, placeAt, scaleAt, sheetSize, xOf, yOf } from "./cell_place.js";
import { element } from "./dom.js";
import { activeElement } from "./focus.js";
import { send } from "./kernel.js";

/** @import { Spot } from "./cell_strip.js" */
/** @import { Cells } from "./cell_strips.js" */
/** @import { Theme } from "./cell_theme.js" */
/** @import { ChatTraits, Model } from "./kernel.js" */

const NEAR = 4; // cells: who looks that close to the end follows it

/**
 * @typedef {object} Scope
 * @property {Model<ChatTraits>} model
 * @property {() => Cells} state
 * @property {Theme} theme
 * @property {(spot: Spot | null) => void} tell about the cell below the pointer, or the cursor
 * @property {(isOn: boolean) => void} read have what is told read aloud
 * @property {() => void} moved called when something else is in sight
 */

export class Sheet {
  /** @param {Scope} scope */
  constructor(scope) {
    this.scope = scope;
    this.canvas = element("canvas", { "aria-hidden": "true" });
    this.room = element("div", { class: "mullama-cells-room" }, this.canvas);
    this.node = element("div", {
      class: "mullama-cells",
      role: "application",
      tabindex: 0,
      "aria-label": "Cells: arrow keys move, Enter checks out, Shift and Enter forks",
      onscroll: () => this.schedule(),
      onfocus: () => this.onFocus(true),
      onblur: () => this.onFocus(false),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.onKey(event),
      onwheel: (/** @type {WheelEvent} */ event) => this.onWheel(event),
      onpointermove: (/** @type {PointerEvent} */ event) => this.hover(this.below(event)),
      onpointerleave: () => this.hover(null),
      onpointerdown: (/** @type {PointerEvent} */ event) => {
        this.pressed = this.below(event); // cells may move before the button is up
      },
      onclick: (/** @type {MouseEvent} */ event) => this.onClick(event),
    }, this.room);
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    this.painter = new Painter(context, scope.theme);
    /** @type {Spot | null} */
    this.cursor = null;
    /** @type {Spot | null} */
    this.hovered = null;
    /** @type {Spot | null} */
    this.pressed = null;
    /** @type {number | null} */
    this.level = null; // null: what fits
    this.frame = 0;
    this.painted = 0; // frames, which tests count
    this.seenEnd = -1; // where the path ended when it was last laid out
    this.observer = new ResizeObserver(() => this.layOut(true));
    this.observer.observe(this.node);
  }

  get scale() {
    const cells = this.scope.state();
    return scaleAt(this.level ?? fittingLevel(cells, this.node.clientWidth), cells.nLanes);
  }

  /** The positions in sight. @returns {[from: number, to: number]} */
  get seen() {
    const { width } = this.scale;
    const { scrollLeft, clientWidth } = this.node;
    return [(scrollLeft - LEFT) / width, (scrollLeft + clientWidth - LEFT) / width];
  }

  /**
   * Give the sheet its size, and go to the end of the path or follow it.
   *
   * @param {boolean} goes to its end, wherever the reader looks
   */
  layOut(goes) {
    const cells = this.scope.state();
    const [, to] = this.seen;
    const follows = goes || this.seenEnd < 0 || this.seenEnd <= to + NEAR;
    const { width, height } = sheetSize(cells, this.scale);
    this.room.style.width = `${width}px`;
    this.room.style.height = `${height}px`;
    this.seenEnd = cells.tip ? cells.tip.position + 1 : 0;
    this.cursor = cells.renew(this.cursor);
    this.hovered = cells.renew(this.hovered);
    if (follows && cells.tip) this.reveal(cells.tip);
    if (goes && cells.end) this.reveal(cells.end);
    this.schedule();
  }

  /** Bring a cell into sight. @param {Spot} spot */
  reveal({ strip, position }) {
    const { node, scale } = this;
    const x = xOf(scale, position), y = yOf(scale, strip.lane);
    const margin = Math.min(2 * scale.width, node.clientWidth / 4);
    if (x < node.scrollLeft) node.scrollLeft = x - margin;
    const right = x + scale.width + margin - node.clientWidth;
    if (right > node.scrollLeft) node.scrollLeft = right;
    if (y - AXIS < node.scrollTop) node.scrollTop = y - AXIS;
    const bottom = y + scale.pitch + 2 - node.clientHeight;
    if (bottom > node.scrollTop) node.scrollTop = bottom;
  }

  schedule() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  paint() {
    const { canvas, node, painter } = this;
    const width = node.clientWidth, height = node.clientHeight;
    if (!width || !height) return;
    this.scope.theme.refresh();
    const ratio = globalThis.devicePixelRatio || 1;
    if (
      canvas.width !== Math.round(width * ratio) ||
      canvas.height !== Math.round(height * ratio)
    ) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    painter.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const { scale, hovered } = this;
    const cursor = this.node.contains(activeElement(this.node)) ? this.here : null;
    const sight = { scale, left: node.scrollLeft, top: node.scrollTop, width, height };
    painter.paint(this.scope.state(), { ...sight, cursor, hovered });
    this.painted++;
    this.scope.moved();
  }

  /** The cell that keys start from. */
  get here() {
    return this.cursor ?? this.scope.state().end;
  }

  /**
   * The cell below a pointer.
   *
   * @param {MouseEvent} event
   */
  below({ clientX, clientY }) {
    const area = this.node.getBoundingClientRect();
    const x = clientX - area.left - this.node.clientLeft;
    const y = clientY - area.top - this.node.clientTop;
    if (y < AXIS) return null;
    const { scrollLeft, scrollTop } = this.node;
    const { position, lane } = placeAt(this.scale, x + scrollLeft, y + scrollTop);
    return this.scope.state().spotAt(lane, position);
  }

  /** @param {Spot | null} spot */
  hover(spot) {
    const { hovered } = this;
    if (spot?.strip === hovered?.strip && spot?.position === hovered?.position) return;
    this.hovered = spot;
    this.node.classList.toggle("can-press", spot !== null);
    this.scope.tell(spot ?? this.here);
    this.schedule();
  }

  /** @param {MouseEvent} event */
  onClick(event) {
    const spot = this.pressed ?? this.below(event);
    this.pressed = null;
    if (!spot) return;
    this.cursor = spot;
    this.act(spot, event.shiftKey);
    this.schedule();
  }

  /**
   * Check out the checkpoint that holds a cell, or branch off in front of the cell.
   *
   * @param {Spot} spot
   * @param {boolean} forks
   */
  act({ strip, position }, forks) {
    const { model } = this.scope;
    const { checkpoint, index } = strip.at(position);
    if (!checkpoint) return;
    if (forks) send(model, "fork", { checkpoint, token: index });
    else send(model, "checkout", { checkpoint });
  }

  /** The cell of the cursor is read aloud while keys move it. @param {boolean} has */
  onFocus(has) {
    if (has) this.cursor ??= this.here; // it stays where it is while the path grows
    this.scope.read(has);
    this.schedule();
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { here } = this;
    const spot = here && goTo(this.scope.state(), here, event.key);
    if (spot) this.moveTo(spot);
    else if (event.key === "+" || event.key === "=") this.zoom(1);
    else if (event.key === "-") this.zoom(-1);
    else if (event.key === "0") this.fit();
    else if (event.key === "u") send(this.scope.model, "undo");
    else if (event.key === "r") send(this.scope.model, "redo");
    else if (event.key === "Enter" && here) this.act(here, event.shiftKey);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {Spot} spot */
  moveTo(spot) {
    this.cursor = spot;
    this.scope.tell(spot);
    this.reveal(spot);
    this.schedule();
  }

  /** @param {WheelEvent} event */
  onWheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.zoom(event.deltaY < 0 ? 1 : -1, event.clientX - this.node.getBoundingClientRect().left);
  }

  /**
   * Make cells larger or smaller; what lies below a point stays there.
   *
   * @param {number} steps
   * @param {number} [x] pixels from the left; without one, the cursor's, or the middle
   */
  zoom(steps, x) {
    const { node, scale } = this;
    const { here } = this;
    const cursorAt = here ? xOf(scale, here.position) - node.scrollLeft : -1;
    const isSeen = cursorAt >= 0 && cursorAt < node.clientWidth;
    const at = x ?? (isSeen ? cursorAt : node.clientWidth / 2);
    const position = (node.scrollLeft + at - LEFT) / scale.width;
    this.level = scaleAt(scale.level + steps, 1).level;
    this.layOut(false);
    node.scrollLeft = xOf(this.scale, position) - at;
    if (here && isSeen && x === undefined) this.reveal(here);
  }

  /** Go back to the zoom at which all is in sight, or can be read. */
  fit() {
    this.level = null;
    this.layOut(true);
  }

  destroy() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }
}
