const NAMES = { user: "You", assistant: "Model", system: "System", tool: "Tool" };

function button(label, title, onclick) {
  return element("button", { type: "button", title, "aria-label": title, onclick }, label);
}

const percent = (p) => `${(100 * p).toFixed(p > 0.0995 ? 0 : 1)} %`;

/** Keep the keys of a field from the notebook; Enter, without Shift, does what the field is for. */
function enters(field, done, cancel = () => {}) {
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") cancel();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    done();
  });
  return field;
}

/** A field with what a message says, to say something else instead. */
function drawEditor(model, message, close) {
  const field = element("textarea", { rows: 3, "aria-label": "Edited message" });
  field.value = message.text;
  const save = () => {
    if (model.get("is_busy")) return;
    send(model, "edit", { checkpoint: message.id, text: field.value });
    close();
  };
  enters(field, save, close);
  const saveButton = button("Save", "Save as another version", save);
  const node = element("div", { class: "mullama-edit" }, field,
    element("div", { class: "mullama-buttons" }, saveButton, button("Cancel", "Cancel", close)));
  return { node, field, update: () => { saveButton.disabled = model.get("is_busy"); } };
}

/** Every token, shaded by how unlikely it was; a click shows what could stand in its place. */
function drawTokens(model, id) {
  const { tokens } = model.get("detail");
  const places = tokens.map(([text, p], token) => element("button", {
    type: "button", class: p == null ? "given" : "", style: p == null ? null : `--doubt: ${Math.round((1 - p) * 45)}%`,
    title: p == null ? "not drawn" : percent(p), "aria-label": `${text} ${p == null ? "" : percent(p)}`,
    tabindex: token ? -1 : 0,
    onclick: () => { at(token); send(model, "alternatives", { checkpoint: id, token }); },
  }, text.replaceAll("\n", "↵")));
  const lines = tokens.flatMap(([text], token) => [places[token], "\n".repeat(text.split("\n").length - 1)]);
  const others = element("div", { class: "mullama-alternatives", role: "group", "aria-label": "Alternatives" });
  const text = element("div", { class: "mullama-tokens", role: "group", "aria-label": "Tokens", onkeydown: walk }, lines);
  let current = 0;
  function at(token) {
    places[current].tabIndex = -1;
    places[current = token].tabIndex = 0;
  }
  function walk(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    at(Math.min(Math.max(places.indexOf(event.target) + step, 0), places.length - 1));
    places[current].focus();
  }
  function update() {
    const { id: of, token, chosen, found } = model.get("alternatives");
    const isHere = of === id;
    places.forEach((place, n) => place.setAttribute("aria-pressed", isHere && n === token));
    others.hidden = !isHere;
    if (!isHere) return;
    others.replaceChildren(...found.map(([other, piece, p]) => {
      const made = element("button", {
        type: "button", style: `--share: ${100 * p}%`, "aria-label": `${piece} ${percent(p)}`,
        title: other === chosen ? "This is the one that stands there" : "Go on from here with this token",
        disabled: other === chosen || model.get("is_busy"), "aria-current": String(other === chosen),
        onclick: () => send(model, "fork", { checkpoint: id, token, choose: other }),
      }, element("span", { class: "piece" }, JSON.stringify(piece).slice(1, -1).replaceAll(" ", "␣")), element("span", {}, percent(p)));
      return made;
    }));
  }
  const hint = element("div", { class: "mullama-hint" }, "The stronger the shade, the less likely the token was. Choose one to see what else could stand there.");
  return { node: element("div", {}, text, hint, others), update };
}

/** One message with all that can be done with it; it stays the same element for as long as it is shown. */
function drawMessage(model) {
  let message = {};
  let editor = null;
  let tokens = null;
  const role = element("div", { class: "mullama-role" });
  const content = element("div", { class: "mullama-text" });
  const inside = element("div", { class: "mullama-inside" });
  const ask = (action, checkpoint = message.id) => send(model, action, { checkpoint });
  const before = button("‹", "Previous version", () => ask("show", message.before));
  const place = element("span", { class: "mullama-count" });
  const after = button("›", "Next version", () => ask("show", message.after));
  const edit = button("Edit", "Edit this message", () => openEditor());
  const again = button("Regenerate", "Another answer", () => ask("regenerate"));
  const look = button("Tokens", "Show how likely each token was", () => isOpen() ? send(model, "close") : ask("tokens"));
  const unfinished = element("span", { class: "mullama-unfinished" }, "unfinished");
  const goOn = button("Continue", "Go on with this answer", () => send(model, "resume"));
  const tools = element("div", { class: "mullama-tools", role: "group", "aria-label": "This message" },
    before, place, after, edit, again, look, unfinished, goOn);
  const node = element("article", { class: "mullama-message" }, role, content, inside, tools);

  const isOpen = () => message.id != null && model.get("detail").id === message.id;
  function openEditor() {
    if (editor) return editor.field.focus();
    editor = drawEditor(model, message, () => {
      editor = null;
      refresh();
      edit.focus();
    });
    refresh();
    editor.field.focus();
  }
  function refresh() {
    if (!isOpen()) tokens = null;
    else if (tokens?.of !== model.get("detail")) tokens = { ...drawTokens(model, message.id), of: model.get("detail") };
    const shown = editor ?? tokens;
    if (inside.firstChild !== (shown?.node ?? null)) inside.replaceChildren(...(shown ? [shown.node] : []));
    shown?.update();
    content.hidden = Boolean(shown);
    tools.hidden = message.id == null || Boolean(editor);
    look.setAttribute("aria-pressed", isOpen());
    const isBusy = model.get("is_busy");
    before.disabled = !message.before;
    after.disabled = !message.after;
    again.disabled = look.disabled = goOn.disabled = isBusy;
  }
  return {
    node,
    refresh,
    get id() { return message.id; },
    get isEdited() { return editor !== null; },
    /** Show a message; one without an id is still on its way. */
    update(next, isLast) {
      const isNew = next !== message;
      const { html } = message;
      message = next;
      if (isNew) {
        if (message.html !== html) renew(content, message.html);
        role.textContent = NAMES[message.role] ?? message.role;
        node.className = `mullama-message mullama-${message.role === "user" ? "user" : "other"}`;
        if (message.id) node.dataset.id = message.id;
        if (message.id) node.removeAttribute("aria-busy");
        else node.setAttribute("aria-busy", "true"); // a screen reader waits until it is whole
        place.textContent = `${message.place}/${message.count}`;
        before.hidden = place.hidden = after.hidden = !(message.count > 1);
        edit.hidden = message.role === "system";
        again.hidden = message.role !== "assistant";
        look.hidden = !message.tokens;
      }
      unfinished.hidden = goOn.hidden = !(message.unfinished && isLast);
      refresh();
    },
  };
}
