// @ts-check
// What is cut off is scrolled by keys, too: Tab goes to it for as long as some of it is out of sight.

/** @type {WeakSet<Element>} */
const watched = new WeakSet();

/**
 * Have keys reach an element that scrolls, whenever it has to.
 *
 * @template {HTMLElement | MathMLElement} Area
 * @param {Area} area
 */
export function letKeysScroll(area) {
  if (watched.has(area)) return area;
  watched.add(area);
  const fit = () => {
    const isCut = area.scrollHeight > area.clientHeight || area.scrollWidth > area.clientWidth;
    if (isCut && getComputedStyle(area).overflow !== "visible") area.tabIndex = 0;
    else if (!area.matches(":focus")) area.removeAttribute("tabindex");
  };
  new ResizeObserver(fit).observe(area);
  new MutationObserver(fit).observe(area, { childList: true, characterData: true, subtree: true });
  return area;
}

/**
 * The same for what scrolls in rendered text: code, tables, formulas.
 *
 * @param {Element} text
 */
export function letKeysScrollIn(text) {
  /** @type {NodeListOf<HTMLElement | MathMLElement>} */
  const areas = text.querySelectorAll("pre, pre > code, table, math");
  areas.forEach(letKeysScroll);
}
