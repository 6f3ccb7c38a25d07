const ROW = 24, LANE = 14, LEFT = 12;
const NS = "http://www.w3.org/2000/svg";
const [ID, PARENT, LANE_OF, ROLE, TEXT, TOKENS, BYTES, FLAGS] = [0, 1, 2, 3, 4, 5, 6, 7];

/** Put rows in order: parents first, a branch before its parent's first child. */
function arrange(state) {
  const below = new Map();
  for (const row of state.rows.values()) {
    if (!below.has(row[PARENT])) below.set(row[PARENT], []);
    below.get(row[PARENT]).push(row);
  }
  const stack = (below.get("") ?? []).map((row) => [row, []]);
  state.order = [];
  state.place = new Map();
  while (stack.length) {
    const [row, lines] = stack.pop();
    state.place.set(row[ID], state.order.length);
    state.order.push({ row, lines });
    const [first, ...others] = below.get(row[ID]) ?? [];
    if (first) stack.push([first, lines]);
    for (const other of others.reverse()) stack.push([other, [...lines, [row[LANE_OF], row[ID]]]]);
  }
}

function follow(state) {
  state.active = new Set();
  state.next = new Map(); // each checkpoint's child on the active path
  for (let row = state.rows.get(state.head); row; row = state.rows.get(row[PARENT])) {
    state.active.add(row[ID]);
    state.next.set(row[PARENT], row[ID]);
  }
}

function begin({ rows = [], head = "", tags = {} }) {
  // Siblings come in the order in which they were made, but the first one's rows come last.
  const inOrder = [...rows];
  const state = { rows: new Map(), head, tags: { ...tags }, live: "", tokens: 0 };
  const first = new Map();
  for (const row of inOrder) {
    const parent = inOrder.length && state.rows.get(row[PARENT]);
    if (parent && parent[LANE_OF] === row[LANE_OF]) first.set(row[PARENT], row);
    state.rows.set(row[ID], row);
  }
  state.rows = new Map([...[...first.values()], ...rows].map((row) => [row[ID], row]));
  arrange(state);
  follow(state);
  return state;
}

function bytes(n) {
  return n < 1024 ? `${n} B` : n < 1048576 ? `${(n / 1024).toFixed(0)} KiB` : `${(n / 1048576).toFixed(1)} MiB`;
}

function shape(tag, attributes) {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function graph({ row, lines }, state, width) {
  const svg = shape("svg", { width, height: ROW, "aria-hidden": "true" });
  const x = (lane) => LEFT + lane * LANE;
  const line = (d, active) => svg.append(shape("path", { d, class: active ? "active" : "" }));
  const active = state.active.has(row[ID]);
  const parent = state.rows.get(row[PARENT]);
  for (const [lane, from] of lines) {
    line(`M${x(lane)} 0V${ROW}`, state.place.get(state.next.get(from)) > state.place.get(row[ID]));
  }
  if (parent && parent[LANE_OF] !== row[LANE_OF]) {
    line(`M${x(parent[LANE_OF])} 0Q${x(parent[LANE_OF])} ${ROW / 2} ${x(row[LANE_OF])} ${ROW / 2}`, active);
  } else if (parent) line(`M${x(row[LANE_OF])} 0V${ROW / 2}`, active);
  const next = state.first.get(row[ID]);
  if (next) line(`M${x(row[LANE_OF])} ${ROW / 2}V${ROW}`, state.next.has(row[ID]));
  svg.append(shape("circle", { cx: x(row[LANE_OF]), cy: ROW / 2, r: 4.5,
    class: `${row[ID] === state.head ? "head" : active ? "active" : ""}${row[FLAGS] & 1 ? " unfinished" : ""}` }));
  return svg;
}

export default define({
  start: begin,
  apply(state, change) {
    if (change.all) return begin(change.all);
    for (const row of change.rows ?? []) state.rows.set(row[ID], row);
    if (change.rows) arrange(state);
    for (const [tag, id] of Object.entries(change.tags ?? {})) {
      if (id) state.tags[tag] = id;
      else delete state.tags[tag];
    }
    if (change.head) [state.head, state.live, state.tokens] = [change.head, "", 0];
    if (change.live && !change.head) {
      state.live = (state.live + change.live[0]).slice(-60);
      state.tokens += change.live[1];
    }
    if (change.rows || change.head) follow(state);
    return state;
  },
  draw(body, { model, state }) {
    let focused = null;
    const search = element("input", { type: "search", placeholder: "Search", "aria-label": "Search", oninput: find });
    const zoom = element("button", { onclick: () => show(state().head) }, "Active path");
    const list = element("div", { class: "mullama-rows", role: "tree", "aria-label": "Checkpoints", onkeydown: key, onscroll: paint });
    const live = element("div", { class: "mullama-live", "aria-live": "off" });
    body.append(element("div", { class: "mullama-bar" }, search, zoom), list, live);
    const canvas = element("div", { class: "mullama-canvas" });
    list.append(canvas);

    function show(id, focus = false) {
      focused = id;
      const top = (state().place.get(id) ?? 0) * ROW;
      if (top < list.scrollTop || top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 2;
      paint();
      if (focus) canvas.querySelector('[tabindex="0"]')?.focus();
    }
    function menu(event, row) {
      event.preventDefault();
      event.stopPropagation();
      body.querySelector(".mullama-menu")?.remove();
      const id = row[ID];
      const item = (words, act) => element("button", { role: "menuitem", onclick: () => { made.remove(); act(); } }, words);
      const made = element("div", { class: "mullama-menu", role: "menu", onkeydown: (e) => { if (e.key === "Escape") made.remove(); } },
        item("Fork here", () => send(model, "fork", { id })),
        item("Tag…", () => { const name = prompt("Name of the checkpoint"); if (name) send(model, "tag", { id, name }); }),
        item("Prune…", () => { if (confirm("Remove this checkpoint and all that follow it?")) send(model, "prune", { id, force: true }); }),
        item("Copy text", () => navigator.clipboard?.writeText(row[TEXT])),
        item("Close", () => {}));
      body.append(made);
      made.querySelector("button").focus();
    }
    function find() {
      const words = search.value.toLowerCase();
      const hit = words && state().order.find(({ row }) => row[TEXT].toLowerCase().includes(words));
      if (hit) show(hit.row[ID]);
    }
    function key(event) {
      const { order, place, head } = state();
      const at = place.get(focused ?? head) ?? 0;
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: order.length - 1 }[event.key];
      if (to !== undefined) show(order[Math.max(0, Math.min(order.length - 1, to))].row[ID], true);
      else if (event.key === "Enter") send(model, "checkout", { id: order[at].row[ID] });
      else if (event.key === "u") send(model, "undo");
      else if (event.key === "r") send(model, "redo");
      else return;
      event.preventDefault();
      event.stopPropagation();
    }
    function paint() {
      const now = state();
      now.first = new Map(now.order.filter(({ row }) => now.rows.get(row[PARENT])?.[LANE_OF] === row[LANE_OF]).map(({ row }) => [row[PARENT], row[ID]]));
      const had = canvas.contains(document.activeElement);
      const from = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
      const shown = now.order.slice(from, from + Math.ceil((list.clientHeight || 400) / ROW) + 10);
      const width = LEFT * 2 + LANE * Math.max(0, ...shown.map(({ row }) => row[LANE_OF]));
      canvas.style.height = `${now.order.length * ROW}px`;
      canvas.replaceChildren(...shown.map((item, i) => {
        const { row } = item, id = row[ID];
        const marks = Object.keys(now.tags).filter((tag) => now.tags[tag] === id);
        const states = [row[FLAGS] & 1 && "unfinished", row[FLAGS] & 2 && "spilled"].filter(Boolean);
        return element("div", {
          class: `mullama-row${now.active.has(id) ? " active" : ""}${id === now.head ? " head" : ""}`,
          role: "treeitem", "aria-level": row[LANE_OF] + 1, "aria-selected": id === now.head ? "true" : "false", "data-id": id,
          tabindex: id === (focused ?? now.head) ? 0 : -1, style: `top:${(from + i) * ROW}px`,
          title: [row[TEXT], [`${row[TOKENS]} tokens`, bytes(row[BYTES]), ...states].join(", ")].join("\n"),
          oncontextmenu: (event) => menu(event, row),
          onclick: () => { focused = id; send(model, "checkout", { id }); },
        }, graph(item, now, width), element("span", { class: "role" }, row[ROLE]),
          element("span", { class: "text" }, row[TEXT]), marks.map((mark) => element("span", { class: "mark" }, mark)),
          states.map((state) => element("span", { class: "mark state" }, state)),
          element("span", { class: "figure" }, row[TOKENS] || ""), element("span", { class: "figure bytes" }, row[TOKENS] ? bytes(row[BYTES]) : ""));
      }));
      if (had) canvas.querySelector('[tabindex="0"]')?.focus({ preventScroll: true });
    }
    return {
      update(change) {
        live.textContent = state().live && `${state().tokens} tokens  …${state().live}`;
        if (!change || change.all || change.rows || change.head || change.tags) paint();
      },
    };
  },
});
