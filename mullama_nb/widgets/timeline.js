const ROW = 24, LANE = 14, LEFT = 12;
const NS = "http://www.w3.org/2000/svg";

function bytes(n) {
  return n < 1024 ? `${n} B` : n < 1048576 ? `${(n / 1024).toFixed(0)} KiB` : `${(n / 1048576).toFixed(1)} MiB`;
}

function count(n, what) {
  return `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
}

function shape(tag, attributes) {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function picture({ id, lines }, graph, width) {
  const row = graph.rows.get(id), lane = row[LANE_OF], active = graph.active.has(id);
  const svg = shape("svg", { width, height: ROW, "aria-hidden": "true" });
  const x = (lane) => LEFT + lane * LANE;
  const line = (d, active) => svg.append(shape("path", { d, class: active ? "active" : "" }));
  const parent = graph.rows.get(row[PARENT]);
  for (const [lane, from] of lines) {
    line(`M${x(lane)} 0V${ROW}`, graph.place.get(graph.next.get(from)) > graph.place.get(id));
  }
  if (parent && parent[LANE_OF] !== lane) {
    line(`M${x(parent[LANE_OF])} 0Q${x(parent[LANE_OF])} ${ROW / 2} ${x(lane)} ${ROW / 2}`, active);
  } else if (parent) line(`M${x(lane)} 0V${ROW / 2}`, active);
  if (graph.children(id).length && !graph.folded.has(id)) line(`M${x(lane)} ${ROW / 2}V${ROW}`, graph.next.has(id));
  const kind = id === graph.head ? "head" : id === LIVE ? "active unfinished" : active ? "active" : "";
  svg.append(shape("circle", { cx: x(lane), cy: ROW / 2, r: 4.5, class: `${kind}${row[FLAGS] & UNFINISHED ? " unfinished" : ""}` }));
  return svg;
}

export default define({
  start: (snapshot) => new Graph(snapshot),
  apply(graph, change) {
    if (change.all) {
      const next = new Graph(change.all);
      for (const id of graph.folded) if (next.rows.has(id)) next.fold(id, true);
      return next;
    }
    graph.apply(change);
  },
  draw(body, { model, state }) {
    let focused = null, opener = null, hovering = null, wanted = null, copying = null, onPath = false;
    const shown = new Map(); // rows on the screen, with what they were made from
    const search = element("input", { type: "search", placeholder: "Search", "aria-label": "Search the checkpoints", oninput: () => find(0), onkeydown: (event) => event.key === "Enter" && find(1) });
    const hits = element("span", { class: "mullama-hits", "aria-live": "polite" });
    const zoom = element("button", { "aria-pressed": "false", title: "Fold every other branch", onclick: zoomToPath }, "Active path");
    const list = element("div", { class: "mullama-rows", role: "tree", "aria-label": "Checkpoints", onkeydown: key, onscroll: () => { hideCard(); paint(); } });
    const canvas = element("div", { class: "mullama-canvas" });
    const card = element("div", { class: "mullama-card", role: "tooltip", hidden: true });
    const sheet = element("div", { class: "mullama-sheet", hidden: true });
    list.append(canvas);
    body.append(element("div", { class: "mullama-bar" }, search, hits, zoom), list, card, sheet);
    let isPlaced = false; // the list has no height before it is on the page
    const sized = new ResizeObserver(() => {
      if (list.clientHeight && !isPlaced) {
        isPlaced = true;
        follow(null);
      }
      paint();
    });
    sized.observe(list);

    // -- what is on the screen ------------------------------------------------------------------

    function show(id, focus = false) {
      focused = id;
      state().reveal(id);
      const top = (state().place.get(id) ?? 0) * ROW;
      if (top < list.scrollTop || top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 2;
      paint();
      if (focus) shown.get(id)?.node.focus({ preventScroll: true });
    }

    function paint() {
      const graph = state();
      const from = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
      const window = graph.order.slice(from, from + Math.ceil((list.clientHeight || 400) / ROW) + 10);
      const width = LEFT * 2 + LANE * Math.max(0, ...window.map(({ id }) => graph.rows.get(id)[LANE_OF]));
      const marks = new Map();
      for (const [tag, id] of Object.entries(graph.tags)) marks.set(id, [...(marks.get(id) ?? []), tag]);
      canvas.style.height = `${graph.order.length * ROW}px`;
      const stop = graph.place.has(focused) ? focused : graph.head;
      const kept = new Set();
      window.forEach((item, i) => {
        const { id } = item, made = facts(item, graph, width, marks.get(id) ?? []);
        const key = JSON.stringify(made);
        let now = shown.get(id);
        if (now?.key !== key) {
          const node = rowOf(item, graph, width, made);
          if (now?.node.contains(document.activeElement)) queueMicrotask(() => node.focus({ preventScroll: true }));
          now?.node.replaceWith(node);
          shown.set(id, (now = { node, key }));
        }
        const top = `${(from + i) * ROW}px`;
        if (now.node.style.top !== top) now.node.style.top = top;
        now.node.tabIndex = id === stop ? 0 : -1;
        kept.add(id);
      });
      for (const [id, { node }] of shown) {
        if (kept.has(id)) continue;
        node.remove();
        shown.delete(id);
      }
      // In the order of the tree, as who has it read aloud expects; what is in place is not touched.
      window.forEach(({ id }, i) => {
        if (canvas.children[i] !== shown.get(id).node) canvas.insertBefore(shown.get(id).node, canvas.children[i] ?? null);
      });
    }

    /** All that a row's looks depend on. */
    function facts({ id, lines }, graph, width, marks) {
      const row = graph.rows.get(id), at = graph.place.get(id);
      const through = lines.map(([lane, from]) => [lane, graph.place.get(graph.next.get(from)) > at]);
      const kids = graph.children(id).length;
      const hidden = graph.folded.has(id) ? graph.subtree(id).length - 1 : 0;
      return [row, graph.rows.get(row[PARENT])?.[LANE_OF], through, width, marks, graph.active.has(id), graph.next.has(id), id === graph.head, kids, hidden];
    }

    function rowOf(item, graph, width, [row, , , , marks, active, , isHead, kids, hidden]) {
      const { id } = item;
      const states = [row[FLAGS] & UNFINISHED && "unfinished", row[FLAGS] & SPILLED && "spilled"].filter(Boolean);
      const about = [row[ROLE], row[TEXT], count(row[TOKENS], "token"), ...marks, ...states].filter(Boolean).join(", ");
      if (id === LIVE) {
        return element("div", { class: "mullama-row active growing", role: "treeitem", "aria-level": row[LANE_OF] + 1, "data-id": LIVE },
          picture(item, graph, width), element("span", { class: "role" }, "…"), element("span", { class: "text tail" }, element("bdi", {}, row[TEXT])),
          element("span", { class: "figure" }, row[TOKENS]), element("span", { class: "figure bytes" }), element("span", { class: "more" }));
      }
      const node = element("div", {
        class: `mullama-row${active ? " active" : ""}${isHead ? " head" : ""}`, role: "treeitem", "data-id": id,
        "aria-level": row[LANE_OF] + 1, "aria-selected": isHead ? "true" : "false", "aria-label": about,
        "aria-expanded": kids ? (hidden ? "false" : "true") : null, tabindex: -1,
        oncontextmenu: (event) => { event.preventDefault(); menu(id); },
        onclick: () => { focused = id; send(model, "checkout", { checkpoint: id }); },
        onmouseenter: () => hover(id), onmouseleave: hideCard, onfocus: () => { focused = id; hover(id); }, onblur: hideCard,
      }, picture(item, graph, width), element("span", { class: "role" }, row[ROLE]), element("span", { class: "text" }, row[TEXT]),
      hidden ? element("button", { class: "fold", tabindex: -1, title: "Unfold", onclick: (event) => { event.stopPropagation(); fold(id, false); } }, `+${hidden}`) : null,
      marks.map((mark) => element("span", { class: "mark" }, mark)), states.map((state) => element("span", { class: "mark state" }, state)),
      element("span", { class: "figure" }, row[TOKENS] || ""), element("span", { class: "figure bytes" }, row[TOKENS] ? bytes(row[BYTES]) : ""),
      element("button", { class: "more", tabindex: -1, "aria-label": "Menu", "aria-haspopup": "menu", onclick: (event) => { event.stopPropagation(); menu(id); } }, "⋯"));
      return node;
    }

    // -- keys and search ------------------------------------------------------------------------

    function key(event) {
      if (event.target.closest("button") || event.ctrlKey || event.metaKey || event.altKey) return;
      const graph = state(), { order, place } = graph;
      const id = place.has(focused) ? focused : graph.head, at = place.get(id) ?? 0;
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 15, PageUp: at - 15, Home: 0, End: order.length - 1 }[event.key];
      if (to !== undefined) show(order[Math.max(0, Math.min(order.length - 1, to))].id, true);
      else if (event.key === "ArrowLeft") {
        if (graph.children(id).length && !graph.folded.has(id) && (id === graph.head || !graph.active.has(id))) fold(id, true);
        else if (graph.rows.get(id)[PARENT]) show(graph.rows.get(id)[PARENT], true);
      } else if (event.key === "ArrowRight") {
        if (graph.folded.has(id)) fold(id, false);
        else if (graph.children(id).length) show(graph.children(id)[0], true);
      } else if (event.key === "Enter" || event.key === " ") send(model, "checkout", { checkpoint: id });
      else if (event.key === "u") send(model, "undo");
      else if (event.key === "r") send(model, "redo");
      else if (event.key === "m" || event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey)) menu(id);
      else if (event.key === "Escape") hideCard();
      else return;
      event.preventDefault();
      event.stopPropagation();
    }

    function fold(id, folded) {
      state().fold(id, folded);
      show(id, true);
    }

    function zoomToPath() {
      setOnPath(!onPath);
      state().focusPath(onPath);
      show(state().head);
    }

    function setOnPath(on) {
      onPath = on;
      zoom.setAttribute("aria-pressed", String(on));
    }

    function find(step) {
      const words = search.value.trim().toLowerCase(), graph = state();
      const named = new Set(Object.keys(graph.tags).filter((tag) => tag.toLowerCase().includes(words)).map((tag) => graph.tags[tag]));
      const found = words ? [...graph.rows.values()].filter((row) => named.has(row[ID]) || row[TEXT].toLowerCase().includes(words)).map((row) => row[ID]) : [];
      const at = (Math.max(0, found.indexOf(focused)) + (found.includes(focused) ? step : 0)) % (found.length || 1);
      hits.textContent = words ? (found.length ? `${at + 1}/${found.length}` : "none") : "";
      if (found.length) show(found[at]);
    }

    // -- the card of one checkpoint -------------------------------------------------------------

    function hover(id) {
      clearTimeout(hovering);
      hovering = setTimeout(() => { wanted = id; send(model, "look", { checkpoint: id }); }, 350);
    }

    function hideCard() {
      clearTimeout(hovering);
      wanted = null;
      card.hidden = true;
    }

    function showCard(made) {
      const row = shown.get(made.id)?.node, graph = state();
      if (made.id !== wanted || !row || !sheet.hidden) return;
      const marks = Object.keys(graph.tags).filter((tag) => graph.tags[tag] === made.id);
      const figures = [count(made.tokens, "token"), `${bytes(made.bytes)} of its own`, `path of ${count(made.path, "token")}`, ...made.states];
      card.replaceChildren(
        element("div", { class: "mullama-card-head" }, element("strong", {}, made.role || "checkpoint"), element("code", {}, made.name), marks.map((mark) => element("span", { class: "mark" }, mark))),
        element("div", { class: "mullama-card-text" }, made.text.slice(0, 1200) + (made.text.length > 1200 ? " …" : "") || "Nothing has been said."),
        element("div", { class: "mullama-card-figures" }, figures.join(" · ")));
      card.hidden = false;
      const area = body.getBoundingClientRect(), near = row.getBoundingClientRect();
      const below = near.bottom - area.top + 2, room = window.innerHeight - near.bottom;
      card.style.top = `${room > card.offsetHeight + 8 ? below : Math.max(0, near.top - area.top - card.offsetHeight - 2)}px`;
    }

    // -- the sheet below: menu, questions, comparison -------------------------------------------

    function open(id, role, label, ...content) {
      hideCard();
      opener = id;
      sheet.setAttribute("role", role);
      sheet.setAttribute("aria-label", label);
      sheet.replaceChildren(...content);
      sheet.hidden = false;
      sheet.querySelector("input, button")?.focus();
    }

    function close() {
      sheet.hidden = true;
      sheet.replaceChildren();
      if (opener && state().place.has(opener)) show(opener, true);
    }

    sheet.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") return close();
      const buttons = [...sheet.querySelectorAll("button")], at = buttons.indexOf(document.activeElement);
      const to = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1 }[event.key];
      if (at >= 0 && to !== undefined) {
        event.preventDefault();
        buttons[(to + buttons.length) % buttons.length].focus();
      }
    });

    function menu(id) {
      const item = (words, act) => element("button", { role: "menuitem", onclick: () => { close(); act(); } }, words);
      const graph = state(), isRoot = !graph.rows.get(id)[PARENT];
      open(id, "menu", "What to do with this checkpoint",
        item("Go here", () => send(model, "checkout", { checkpoint: id })),
        item("Fork here", () => send(model, "fork", { checkpoint: id })),
        item("Tag…", () => askTag(id)),
        id === graph.head ? null : item("Compare with head", () => send(model, "compare", { checkpoint: id })),
        item("Copy text", () => { copying = id; send(model, "look", { checkpoint: id }); }),
        isRoot ? null : item("Prune…", () => askPrune(id)),
        item("Close", () => {}));
    }

    function askTag(id) {
      const name = element("input", { "aria-label": "Name of the checkpoint", placeholder: "Name", maxlength: 100 });
      const give = (event) => {
        event.preventDefault();
        const chosen = name.value.trim();
        close();
        if (chosen) send(model, "tag", { checkpoint: id, name: chosen });
      };
      open(id, "dialog", "Tag a checkpoint", element("form", { onsubmit: give }, element("span", {}, "Tag this checkpoint"), name,
        element("button", { class: "mullama-main" }, "Tag"), element("button", { type: "button", onclick: close }, "Cancel")));
    }

    function askPrune(id) {
      const graph = state(), lost = new Set(graph.subtree(id));
      const marks = Object.keys(graph.tags).filter((tag) => lost.has(graph.tags[tag]));
      const also = [marks.length && `the ${marks.length === 1 ? "tag" : "tags"} ${marks.join(", ")}`, lost.has(graph.head) && "the head, which moves to the parent"].filter(Boolean);
      open(id, "alertdialog", "Prune", element("span", {}, `Remove ${lost.size === 1 ? "this checkpoint" : count(lost.size, "checkpoint")}${also.length ? `, with ${also.join(" and ")}` : ""}? This cannot be undone.`),
        element("button", { class: "mullama-danger", onclick: () => { close(); send(model, "prune", { checkpoint: id, force: true }); } }, "Prune"),
        element("button", { onclick: close }, "Cancel"));
      sheet.querySelector("button:last-child").focus();
    }

    function showComparison({ id, common, sides }) {
      const side = ([name, text, probability]) => element("div", { class: "mullama-side" },
        element("strong", {}, name), probability == null ? null : element("span", { class: "figure" }, `first token ${probability < 0.001 ? "below 0.1" : (100 * probability).toFixed(1)} %`),
        element("div", { class: "mullama-card-text" }, text || "(ends here)"));
      open(id, "dialog", "Comparison with the head", element("div", { class: "mullama-comparison" },
        element("div", {}, `Both begin with the same ${count(common, "token")}.`), element("div", { class: "mullama-sides" }, sides.map(side))),
        element("button", { onclick: close }, "Close"));
    }

    return {
      update(change) {
        if (change?.card) {
          if (change.card.id === copying) {
            navigator.clipboard?.writeText(change.card.text);
            copying = null;
          }
          showCard(change.card);
        } else if (change?.comparison) showComparison(change.comparison);
        else {
          if (change?.head) focused = null;
          if (onPath && !state().folded.size) setOnPath(false);
          if (change?.gone && opener && !state().rows.has(opener)) close();
          paint();
          if (!change || change.head || change.live) follow(change);
        }
      },
      destroy() {
        clearTimeout(hovering);
        sized.disconnect();
      },
    };

    /** Keep what is new in sight of a reader who looks at the end of it. */
    function follow(change) {
      const graph = state(), at = graph.place.get(graph.live ? LIVE : graph.head);
      const bottom = (at + 1) * ROW - list.clientHeight;
      if (!change) list.scrollTop = Math.max(0, bottom + (bottom > 0 ? list.clientHeight / 2 : 0));
      else if (bottom > list.scrollTop && bottom - list.scrollTop < 3 * ROW) list.scrollTop = bottom;
    }
  },
});
