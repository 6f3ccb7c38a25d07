// @ts-check
// What a canvas takes from the page's theme: colours, the font, patterns.

const ROLES = /** @type {const} */ (["system", "user", "assistant", "tool", "template"]);

const NAMES = [...ROLES, "paper", "ink", "muted", "line", "brand", "again"];
const HATCH = 5; // pixels from one stroke to the next

/** Which of them a role of any template looks like. @param {string} role */
export function kindOf(role) {
  if (role === "developer") return "system";
  const kind = ROLES.find((each) => each === role);
  return kind ?? (role === "text" ? "template" : "tool");
}

export class Theme {
  /** @param {HTMLElement} node whose style the canvas follows */
  constructor(node) {
    this.node = node;
    /** @type {Record<string, string>} */
    this.colours = {};
    this.font = "sans-serif";
    /** @type {Map<string, CanvasPattern | string>} */
    this.hatches = new Map();
    this.seen = ""; // what the colours were read from
  }

  /** Take the colours in where they are others: in another theme, or once the page has the node. */
  refresh() {
    const style = getComputedStyle(this.node);
    const now = NAMES.map((name) => style.getPropertyValue(`--m-${name}`)).join();
    if (now !== this.seen) this.read();
    this.seen = now;
  }

  read() {
    const probe = document.createElement("span");
    this.node.append(probe);
    for (const name of NAMES) {
      probe.style.color = `var(--m-${name})`;
      this.colours[name] = getComputedStyle(probe).color;
    }
    this.font = getComputedStyle(probe).fontFamily;
    probe.remove();
    this.hatches.clear();
  }

  /** Diagonal strokes of a colour. @param {string} name */
  hatch(name) {
    const made = this.hatches.get(name) ?? drawHatch(this.colours[name]);
    this.hatches.set(name, made);
    return made;
  }
}

/** @param {string} colour */
function drawHatch(colour) {
  const ratio = globalThis.devicePixelRatio || 1;
  const side = Math.round(HATCH * ratio);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  if (!context) return colour;
  context.strokeStyle = colour;
  context.lineWidth = ratio;
  context.beginPath();
  for (const shift of [-side, 0, side]) { // so that tiles fit
    context.moveTo(shift, side);
    context.lineTo(shift + side, 0);
  }
  context.stroke();
  return context.createPattern(canvas, "repeat") ?? colour;
}

const SETTLING = [0, 100, 400, 1600]; // ms in which the style follows a theme's name

/**
 * Hear when the page may have another theme.
 *
 * @param {() => void} changed
 */
export function watchTheme(changed) {
  /** @type {ReturnType<typeof setTimeout>[]} */
  let timers = [];
  const stop = () => timers.forEach(clearTimeout);
  const start = () => {
    stop();
    timers = SETTLING.map((ms) => setTimeout(changed, ms));
  };
  const observer = new MutationObserver(start);
  const attributeFilter = ["class", "data-jp-theme-name", "data-jp-theme-light"];
  observer.observe(document.body, { attributeFilter });
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", start);
  return () => {
    stop();
    observer.disconnect();
    scheme.removeEventListener("change", start);
  };
}
