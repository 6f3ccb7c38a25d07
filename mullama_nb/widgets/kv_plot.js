const GAUGE = 8, TOP = 28, BOTTOM = 148, LEFT = 64, WIDEST = 48;
const [ROLE, LABEL, TOKENS, BYTES, BEFORE, SHARED] = [0, 1, 2, 3, 4, 5];

function size(n) {
  for (const unit of ["B", "kB", "MB"]) {
    if (n < 1000) return unit === "B" ? `${Math.round(n)} B` : `${Number(n.toPrecision(3))} ${unit}`;
    n /= 1000;
  }
  return `${Number(n.toPrecision(3))} GB`;
}

function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const box = (kind, x, y, width, height) =>
  drawn("rect", { class: kind, x, y, width: Math.max(width, 0), height: Math.max(height, 0) });

const count = (n) => n.toLocaleString("en");

/** Round values up to the highest, three or four of them. */
function ticks(top) {
  if (!top) return [0];
  const rough = top / 3.5, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough);
  return Array.from({ length: Math.floor(top / step) + 1 }, (_, i) => i * step);
}

export default define({
  start: (snapshot) => ({ steps: [], ...snapshot, live: 0 }),
  apply(state, change) {
    if (change.all) return { ...change.all, live: 0 };
    return { ...state, live: state.live + change.live };
  },
  draw(body, { state }) {
    let chosen = null; // counted from the path's beginning; null: the head
    const sums = element("div", { class: "sums" });
    const said = element("div", { class: "said", "aria-live": "polite" });
    const key = (kind, words) => element("span", {}, element("i", { class: kind }), words);
    const svg = drawn("svg", { height: BOTTOM + 4, role: "listbox", "aria-label": "KV bytes of each checkpoint on the active path" });
    const last = element("span", { class: "last" });
    const keys = element("div", { class: "keys" }, key("own", "kept, on this branch only"),
      key("shared", "kept, shared by branches"), key("before", "a full snapshot would hold again"), last);
    const plot = element("div", { class: "mullama-kv" }, sums, svg, said, keys);
    const sum = (n, words) => element("span", {}, element("strong", {}, size(n)), ` ${words}`);
    body.append(plot);
    svg.addEventListener("keydown", move);
    svg.addEventListener("pointerleave", () => choose(null));

    function at() {
      const { steps, omitted } = state();
      const last = steps.length - 1;
      return chosen === null ? last : Math.min(Math.max(chosen - omitted, 0), last);
    }
    function choose(index, focus = false) {
      chosen = index === null ? null : index + state().omitted;
      const now = at();
      svg.querySelectorAll('[role="option"]').forEach((bar, i) => {
        bar.classList.toggle("chosen", i === now && chosen !== null);
        bar.setAttribute("tabindex", i === now ? 0 : -1);
        bar.setAttribute("aria-selected", i === now ? "true" : "false");
        if (focus && i === now) bar.focus();
      });
      say(now);
    }
    function say(index) {
      const step = state().steps[index];
      if (!step) return said.replaceChildren("Nothing has been said yet.");
      const words = [`${count(step[TOKENS])} token${step[TOKENS] === 1 ? "" : "s"}`, `keeps ${size(step[BYTES])}`];
      if (step[BEFORE]) words.push(`full snapshot ${size(step[BYTES] + step[BEFORE])}`);
      if (step[SHARED]) words.push("shared");
      said.replaceChildren(
        element("span", {}, `${index + state().omitted + 1} ${step[ROLE]}`.trim()),
        element("span", { class: "label" }, step[LABEL]), ...words.map((word) => element("span", {}, word)));
    }
    function move(event) {
      const last = state().steps.length - 1;
      const to = { ArrowRight: at() + 1, ArrowLeft: at() - 1, Home: 0, End: last }[event.key];
      if (to === undefined || last < 0) return;
      choose(Math.max(0, Math.min(last, to)), true);
      event.preventDefault();
      event.stopPropagation();
    }
    function paint() {
      const now = state(), { steps, live } = now;
      const room = plot.clientWidth - 24;
      if (room <= 0) return;
      const tokens = now.tokens + live, cells = now.cells || 1, growing = live * now.per_token;
      sums.replaceChildren(
        sum(now.kept + growing, "on this path"), sum(now.snapshots, "as full snapshots"), sum(now.all_kept + growing, "whole tree"),
        element("span", { class: "cells" }, `${count(tokens)} of ${count(cells)} tokens`));
      keys.hidden = !steps.length;
      last.textContent = now.omitted ? `last ${steps.length} of ${count(steps.length + now.omitted)} checkpoints` : "";
      const had = svg.contains(document.activeElement);
      svg.replaceChildren();
      svg.setAttribute("width", room);
      const track = box("track", 0, 0, room, GAUGE);
      track.setAttribute("rx", 2);
      svg.append(track);
      const cell = room / cells;
      let start = now.tokens - steps.reduce((sum, step) => sum + step[TOKENS], 0);
      const parted = Math.min(start, now.shared_tokens); // of the checkpoints that have no bar
      svg.append(box("shared", 0, 0, parted * cell, GAUGE), box("own", parted * cell, 0, (start - parted) * cell, GAUGE));
      for (const step of steps) {
        const width = step[TOKENS] * cell;
        svg.append(box(step[SHARED] ? "shared" : "own", start * cell, 0, width - (width > 4 ? 1 : 0), GAUGE));
        start += step[TOKENS];
      }
      if (live) svg.append(box("live", start * cell, 0.5, live * cell, GAUGE - 1));
      if (!steps.length && !live) {
        svg.setAttribute("height", GAUGE);
        return say(-1);
      }
      svg.setAttribute("height", BOTTOM + 4);
      const base = now.per_token ? now.kept : 0;
      const top = Math.max(growing ? base + growing : 0, ...steps.map((step) => step[BYTES] + step[BEFORE]));
      const scale = (BOTTOM - TOP) / (top || 1);
      for (const value of ticks(top)) {
        const y = Math.round(BOTTOM - value * scale) + 0.5;
        svg.append(drawn("path", { class: "grid", d: `M${LEFT} ${y}H${room}` }),
          drawn("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, size(value)));
      }
      const width = Math.min(WIDEST, (room - LEFT) / Math.max(steps.length + (live ? 1 : 0), 1));
      const gap = width > 6 ? 2 : 0.5;
      steps.forEach((step, i) => {
        const x = LEFT + i * width + gap / 2, low = step[BEFORE] * scale, tall = step[BYTES] * scale;
        const bar = drawn("g", { role: "option", "aria-label": `${step[ROLE]} ${step[LABEL]}: ${count(step[TOKENS])} tokens, keeps ${size(step[BYTES])}` },
          box("hit", x, TOP - 8, width - gap, BOTTOM - TOP + 8),
          box("before", x, BOTTOM - low, width - gap, low),
          box(step[SHARED] ? "shared" : "own", x, BOTTOM - low - tall, width - gap, tall));
        bar.addEventListener("pointerenter", () => choose(i));
        bar.addEventListener("focus", () => choose(i));
        svg.append(bar);
      });
      if (growing) {
        const x = LEFT + steps.length * width + gap / 2;
        svg.append(box("before", x, BOTTOM - base * scale, width - gap, base * scale),
          box("live", x + 0.5, BOTTOM - (base + growing) * scale, width - gap - 1, growing * scale));
      }
      choose(chosen === null ? null : at(), had);
    }
    const watch = new ResizeObserver(paint);
    watch.observe(plot);
    return { update: paint, destroy: () => watch.disconnect() };
  },
});
