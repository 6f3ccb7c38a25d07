// @ts-check
// What tests see of a module.

/** What a widget's script gives to anywidget. @param {string} url */
export async function hooks(url) {
  const { default: widget } = await import(url);
  const made = widget();
  return Object.keys(made).filter((name) => typeof made[name] === "function").sort();
}

/** What a module exports as its default. @param {string} url */
export async function exported(url) {
  return (await import(url)).default;
}

/**
 * The states of a view, after a snapshot and after each of some changes; the last is null where one
 * did not fit.
 *
 * @param {string} url of a module that exports `start` and `apply`
 * @param {object} snapshot
 * @param {object[]} changes
 */
export async function states(url, snapshot, changes) {
  const { start, apply } = await import(url);
  const found = [start(structuredClone(snapshot))];
  for (const change of changes) {
    const next = apply(structuredClone(found.at(-1)), change);
    found.push(next);
    if (next === null) break;
  }
  return found;
}

/** What a module exports under a name. @param {string} url @param {string} name */
export async function constant(url, name) {
  return (await import(url))[name];
}
