// @ts-check
// Whether somebody can see an element.

/**
 * Call a function whenever an element comes into sight.
 *
 * @param {HTMLElement} node
 * @param {() => void} appeared
 */
export function seen(node, appeared) {
  let is = false;
  const observer = new IntersectionObserver((entries) => {
    is = entries[entries.length - 1].isIntersecting;
    if (is) appeared();
  });
  observer.observe(node);
  return { sees: () => is, end: () => observer.disconnect() };
}
