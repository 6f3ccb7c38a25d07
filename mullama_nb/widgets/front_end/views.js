// @ts-check
// Which views there are: the kernel frees what no page shows any more.

/** @import { Model } from "./kernel.js" */

const QUIET = 1000; // ms in which a view that was moved comes back

/** A name for this page, the same in all widgets that it shows. */
function page() {
  const here = /** @type {{ mullamaPage?: string }} */ (globalThis);
  return (here.mullamaPage ??= Date.now().toString(36) + Math.random().toString(36).slice(2));
}

/**
 * Tell the kernel how many views there are, also when the page is left and found again.
 *
 * @param {Pick<Model, "send">} model
 * @param {Set<unknown>} views
 */
export function tellOfViews(model, views) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @param {object} content */
  const say = (content) => {
    try {
      model.send({ ...content, page: page() });
    } catch {
      // the kernel is gone
    }
  };
  const tell = () => say({ kind: "views", n: views.size });
  const tellSoon = () => {
    clearTimeout(timer);
    timer = setTimeout(tell, QUIET);
  };
  const leave = () => say({ kind: "away" });
  /** @param {PageTransitionEvent} event */
  const comeBack = ({ persisted }) => {
    if (persisted && views.size) tell();
  };
  addEventListener("pagehide", leave);
  addEventListener("pageshow", comeBack);
  return {
    tell,
    tellSoon,
    end() {
      clearTimeout(timer);
      removeEventListener("pagehide", leave);
      removeEventListener("pageshow", comeBack);
    },
  };
}
