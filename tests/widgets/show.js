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
