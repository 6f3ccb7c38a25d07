// @ts-check
// Numbers as people read them.

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/**
 * A number of bytes with three significant digits: the same rule as `mullama_nb.size`, in integers.
 *
 * @param {number} bytes below 2 ** 53
 */
export function size(bytes) {
  const whole = Math.floor(bytes + 0.5);
  const step = 10 ** Math.max(String(whole).length - 3, 0); // what the last of three digits counts
  const rounded = Math.floor((whole + Math.floor(step / 2)) / step) * step;
  const power = Math.min(Math.floor((String(rounded).length - 1) / 3), UNITS.length - 1);
  const units = Math.floor(rounded / 1000 ** power);
  const rest = rounded % 1000 ** power;
  const decimals = rest ? String(rest).padStart(3 * power, "0").replace(/0+$/, "") : "";
  return `${count(units)}${decimals && "."}${decimals} ${UNITS[power]}`;
}

/** @param {number} n */
export function count(n) {
  return n.toLocaleString("en");
}

/**
 * A number of things, as in "1 token" and "2 tokens".
 *
 * @param {number} n
 * @param {string} thing
 */
export function plural(n, thing) {
  return `${count(n)} ${thing}${n === 1 ? "" : "s"}`;
}

/**
 * A probability; below ten per cent with a decimal: the same rule as in `format.py`.
 *
 * @param {number} probability from 0 to 1
 */
export function percent(probability) {
  if (probability > 0 && probability < 0.0005) return "< 0.1 %";
  return `${(100 * probability).toFixed(probability > 0.0995 ? 0 : 1)} %`;
}

const SPANS = /** @type {const} */ ([["day", 86400], ["hour", 3600], ["minute", 60]]);

/**
 * How long ago something was made, in the largest unit that fits.
 *
 * @param {string | null} created an ISO time; null gives no text
 * @param {number} now milliseconds since 1970
 */
export function age(created, now) {
  if (!created) return "";
  const seconds = Math.max(0, (now - Date.parse(created)) / 1000);
  for (const [unit, length] of SPANS) {
    const n = Math.floor(seconds / length);
    if (n) return plural(n, unit);
  }
  return "just now";
}
