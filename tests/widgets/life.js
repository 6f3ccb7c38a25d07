// @ts-check
// What tests ask of a view whose kernel may end.

import { watchLife, whileHeard } from "../../mullama_nb/widgets/front_end/life.js";

/** As JupyterLab's connection to a kernel: it tells first, and drops its comms then. */
class Kernel {
  /** @param {string[]} comms */
  constructor(comms) {
    this.comms = new Set(comms);
    this.isDisposed = false;
    this.statusChanged = new Signal();
    this.disposed = new Signal();
  }

  /** @param {string} id */
  hasComm(id) {
    return this.comms.has(id);
  }

  /** @param {string} event */
  happens(event) {
    this.statusChanged.emit();
    if (event === "dead") {
      this.isDisposed = true;
      this.disposed.emit();
    }
    if (["restarting", "autorestarting", "dead"].includes(event)) {
      this.comms.clear();
    }
  }
}

class Signal {
  /** @type {Set<() => void>} */
  slots = new Set();
  connect = (/** @type {() => void} */ slot) => this.slots.add(slot);
  disconnect = (/** @type {() => void} */ slot) => this.slots.delete(slot);
  emit() {
    this.slots.forEach((slot) => slot());
  }
}

/**
 * What a view was told of its kernel's end after each of some events, and how many messages went out;
 * one is sent before the first event and after each. Last, how many listeners are left.
 *
 * @param {string[] | null} comms that the kernel has; null where there is no kernel
 * @param {string} own
 * @param {string[]} events
 */
export async function toldAfter(comms, own, events) {
  const kernel = comms && new Kernel(comms);
  /** @type {string[]} */
  const told = [];
  let n = 0;
  const model = whileHeard({
    get: () => own,
    send: (/** @type {object} */ _) => n++,
    widget_manager: { kernel },
  });
  const leave = watchLife(model, (why) => told.push(why));
  model.send({});
  const seen = [[[...told], n]];
  for (const event of events) {
    kernel?.happens(event);
    await Promise.resolve(); // what was put off
    model.send({});
    seen.push([[...told], n]);
  }
  leave();
  return [
    seen,
    kernel ? kernel.statusChanged.slots.size + kernel.disposed.slots.size : 0,
  ];
}

/**
 * What a view is told in a page that says nothing of kernels, or not all, and whether it is heard.
 *
 * @param {object} [manager]
 */
export function toldBy(manager) {
  /** @type {string[]} */
  const told = [];
  let n = 0;
  const model = whileHeard({
    get: () => "own",
    send: (/** @type {object} */ _) => n++,
    widget_manager: manager,
  });
  watchLife(model, (why) => told.push(why));
  model.send({});
  return [told, n];
}
