function size(n) {
  for (const unit of ["B", "kB", "MB"]) {
    if (n < 1000) return unit === "B" ? `${n} B` : `${Number(n.toPrecision(3))} ${unit}`;
    n /= 1000;
  }
  return `${Number(n.toPrecision(3))} GB`;
}

function age(created) {
  if (!created) return "";
  const seconds = Math.max(0, (Date.now() - Date.parse(created)) / 1000);
  const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
  for (const [unit, length] of units) {
    const n = Math.floor(seconds / length);
    if (n) return `${n} ${unit}${n === 1 ? "" : "s"}`;
  }
  return "just now";
}

export default define({
  start: (snapshot) => ({ rows: [], ...snapshot }),
  apply: (state) => state, // every change comes as a snapshot
  draw(body, { model, state }) {
    let asked = null; // the name whose deletion waits for a yes
    let saving = null; // the name that would be replaced
    const input = element("input", { placeholder: "Save this chat as…", "aria-label": "Name to save the chat under", oninput: () => { saving = null; paint(); } });
    const save = element("button", { type: "submit" }, "Save");
    const form = element("form", { onsubmit }, input, save);
    const look = element("button", { title: "Look again", "aria-label": "Look again", onclick: () => send(model, "refresh") }, "↻");
    const list = element("div", { class: "list", role: "list", "aria-label": "Saved sessions" });
    const news = element("div", { class: "news", role: "status" });
    body.append(element("div", { class: "mullama-sessions" }, element("div", { class: "top" }, form, look), list, news));
    for (const kind of ["keydown", "keyup"]) input.addEventListener(kind, (event) => event.stopPropagation());

    function onsubmit(event) {
      event.preventDefault();
      const name = input.value.trim();
      if (!name) return input.focus();
      if (state().rows.some((row) => row.name === name) && saving !== name) {
        saving = name;
        return paint();
      }
      send(model, "save", { name, replace: saving === name });
      [saving, input.value] = [null, ""];
      paint();
    }
    function ask(name, then) {
      asked = name;
      paint();
      list.querySelector(then)?.focus();
    }
    function actions(row) {
      if (asked === row.name) {
        return [
          element("button", { class: "sure", "aria-label": `Delete ${row.name} for good`, onclick: () => { asked = null; send(model, "delete", { name: row.name }); } }, "Delete for good"),
          element("button", { class: "keep", "aria-label": `Keep ${row.name}`, onclick: () => ask(null) }, "Keep"),
        ];
      }
      return [
        element("button", { disabled: Boolean(row.why), "aria-label": `Load ${row.name}`, onclick: () => send(model, "load", { name: row.name }) }, "Load"),
        element("button", { "aria-label": `Delete ${row.name}`, onclick: () => ask(row.name, ".keep") }, "Delete"),
      ];
    }
    function paint() {
      const { rows, can_save, said } = state();
      form.hidden = !can_save;
      save.textContent = saving ? `Replace ${saving}` : "Save";
      save.classList.toggle("sure", Boolean(saving));
      news.textContent = said ?? "";
      list.replaceChildren(...rows.map((row) =>
        element("div", { class: `session${row.why ? " unfit" : ""}`, role: "listitem" },
          element("span", { class: "name", title: row.name }, row.name),
          element("span", { class: "figure optional" }, `${row.tokens.toLocaleString("en")} tokens`),
          element("span", { class: "figure" }, size(row.bytes)),
          element("span", { class: "figure optional", title: row.created ?? "" }, age(row.created)),
          element("span", { class: "do" }, actions(row)),
          element("span", { class: "about" }, [row.kind, row.model, row.type].filter(Boolean).join(" · ")),
          row.why ? element("span", { class: "why" }, row.why) : null)));
      if (!rows.length) list.append(element("div", { class: "nothing" }, "Nothing is saved here."));
    }
    return { update: paint };
  },
});
