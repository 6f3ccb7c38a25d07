// @ts-check
// Who works by keys keeps the focus in a widget when what has it goes away.

const STOPS = "button:enabled, a[href], summary, [tabindex]";
const HIDING = ["disabled", "hidden", "inert", "open", "class"];

/**
 * What has the focus in the document or shadow tree of an element.
 *
 * @param {Node} node
 */
export function activeElement(node) {
  const root = /** @type {Document | ShadowRoot} */ (node.getRootNode());
  return root.activeElement ?? null;
}

/**
 * Have the focus go to the nearest button or list where its element was removed, disabled or hidden,
 * and to the widget itself on a click where nothing takes it.
 *
 * @param {HTMLElement} el the widget's root
 */
export function keepFocus(el) {
  if (!el.hasAttribute("tabindex")) el.tabIndex = -1;
  /** @type {Element[]} */
  let way = []; // from what has the focus up to the root
  const look = () => {
    if (!way.length || !isLost(el, way[0])) return;
    const next = isGone(way[0]) ? placeNear(way, el) : way[0];
    if (next instanceof HTMLElement) next.focus({ preventScroll: true });
  };
  el.addEventListener("focusin", ({ target }) => {
    way = wayUp(/** @type {Element} */ (target), el);
  });
  el.addEventListener("focusout", ({ relatedTarget }) => {
    if (relatedTarget instanceof Node && el.contains(relatedTarget)) return;
    setTimeout(() => { // what is being removed or moved is not left
      if (way.length && !isGone(way[0]) && !el.contains(activeElement(el))) way = [];
    });
  });
  const observer = new MutationObserver(look);
  observer.observe(el, { subtree: true, childList: true, attributeFilter: HIDING });
  return () => observer.disconnect();
}

/** @param {Element} from @param {Element} to */
function wayUp(from, to) {
  const way = [];
  for (let at = /** @type {Element | null} */ (from); at; at = at.parentElement) {
    way.push(at);
    if (at === to) break;
  }
  return way;
}

/** Whether an element can have the focus no longer. @param {Element} node */
function isGone(node) {
  return !node.isConnected || node.matches(":disabled, [inert] *") || !node.checkVisibility();
}

/**
 * Whether nothing has the focus any more: neither another element of the widget nor one of the page.
 *
 * @param {Element} el
 * @param {Element} last what had it
 */
function isLost(el, last) {
  const now = activeElement(el);
  if (now === last) return isGone(last);
  const root = el.getRootNode();
  const host = root instanceof ShadowRoot ? root.host : null;
  const onPage = document.activeElement;
  const isNowhere = onPage === null || onPage === document.body || onPage === host;
  return isNowhere && (now === null || now === document.body);
}

/**
 * What is nearest to an element that is gone, and no box to write in, as the next key may be a
 * command: the same button made anew, a button beside it, or what it was in.
 *
 * @param {Element[]} way
 * @param {Element} el
 */
function placeNear(way, el) {
  const name = way[0].getAttribute("aria-label");
  for (const around of way.slice(1)) {
    if (!el.contains(around) || isGone(around)) continue;
    const stops = [...around.querySelectorAll(STOPS)].filter((each) => !isGone(each));
    const same = stops.find((each) => name !== null && each.getAttribute("aria-label") === name);
    const found = same ?? (around.hasAttribute("tabindex") ? around : stops[0]);
    if (found) return found;
  }
  return el;
}
