function start(snapshot) {
  return { messages: snapshot.messages ?? [], draft: snapshot.draft ?? "", progress: snapshot.progress ?? null };
}

function apply(state, change) {
  if (change.messages) {
    const kept = change.after === null ? 0 : state.messages.findIndex(({ id }) => id === change.after) + 1;
    if (change.after !== null && !kept) return LOST;
    const changed = new Map(change.changed.map((fields) => [fields.id, fields]));
    state.messages = state.messages.slice(0, kept)
      .map((message) => (changed.has(message.id) ? { ...message, ...changed.get(message.id) } : message))
      .concat(change.messages);
  }
  if (change.draft) state.draft = state.draft.slice(0, change.draft[0]) + change.draft[1];
  if ("progress" in change) state.progress = change.progress;
  return state;
}

function draw(body, { model, state }) {
  const log = element("div", { class: "mullama-log", role: "log", "aria-live": "polite", "aria-label": "Messages", tabindex: 0 });
  const bar = element("progress", { "aria-label": "Evaluating" });
  const count = element("span");
  const reading = element("div", { class: "mullama-progress", hidden: true }, bar, count);
  const box = enters(element("textarea", { rows: 1, "aria-label": "Message", placeholder: "Write a message" }), submit);
  const sendButton = element("button", { type: "button", class: "mullama-main", onclick: submit }, "Send");
  const stopButton = element("button", { type: "button", onclick: () => { stop(model); box.focus(); } }, "Stop");
  const empty = element("p", { class: "mullama-empty" }, "Say something to begin.");
  body.classList.add("mullama-chat");
  body.append(log, element("div", { class: "mullama-write" }, reading, box, sendButton, stopButton));
  box.addEventListener("input", fit);
  let rows = [];
  let draft = null;
  let pending = null;
  let follows = true; // whether the reader is at the end
  let end = 0; // where the log was last seen to stand
  let sent = "";
  const edited = new Map(); // rows that are not shown just now, but hold an edit

  // A scroll is told a frame later, so a place above where the log was left counts, too.
  const toEnd = () => {
    follows &&= log.scrollTop >= end - 1;
    if (follows) log.scrollTop = log.scrollHeight;
    end = log.scrollTop;
  };
  log.addEventListener("scroll", () => {
    follows = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
    end = log.scrollTop;
  });
  const observer = new ResizeObserver(toEnd);
  observer.observe(log);

  function submit() {
    const text = box.value.trim();
    if (!text || model.get("is_busy")) return;
    send(model, "ask", { text });
    sent = text;
    box.value = "";
    follows = true;
    fit();
  }
  function fit() {
    const isBusy = model.get("is_busy");
    sendButton.disabled = !box.value.trim() || isBusy;
    stopButton.disabled = !(isBusy || model.get("in_cell") || state().draft || state().progress);
  }
  /** What was not said, because of an error, goes back into the box. */
  function giveBack() {
    if (!model.get("error") || !sent) return;
    const said = state().messages.findLast(({ role }) => role === "user")?.text;
    if (!box.value && said !== sent) box.value = sent;
    sent = "";
    fit();
  }
  function rowOf(message, old) {
    const row = old.get(message.id) ?? edited.get(message.id);
    if (row) return row;
    const made = message.role === "assistant" ? draft : null; // what streamed is now whole
    if (made) draft = null;
    return made ?? drawMessage(model);
  }
  /** Have the log hold the rows of the messages; rows that stay are not touched. */
  function arrange() {
    const { messages } = state();
    const old = new Map(rows.map((row) => [row.id, row]));
    const focus = focused();
    rows = messages.map((message) => rowOf(message, old));
    rows.forEach((row, i) => {
      row.update(messages[i], i === messages.length - 1);
      old.delete(row.id);
      edited.delete(row.id);
      if (log.children[i] !== row.node) log.insertBefore(row.node, log.children[i] ?? null);
    });
    for (const [id, row] of old) {
      row.node.remove();
      if (row.isEdited) edited.set(id, row);
    }
    last();
    if (focus && !log.contains(log.getRootNode().activeElement)) {
      const buttons = [...(rows[focus.index]?.node.querySelectorAll(".mullama-tools button:enabled:not([hidden])") ?? [])];
      const same = buttons.find((button) => button.getAttribute("aria-label") === focus.name);
      (same ?? buttons[0] ?? box).focus({ preventScroll: true });
    }
  }
  function focused() {
    const active = log.getRootNode().activeElement;
    const index = rows.findIndex(({ node }) => node.contains(active));
    return index < 0 ? null : { index, name: active.getAttribute("aria-label") };
  }
  /** What stands behind the messages: a question on its way, and an answer as it comes. */
  function last() {
    const { messages, draft: html } = state();
    const waits = model.get("pending");
    const isSaid = !waits || messages.findLast(({ role }) => role === "user")?.text === waits;
    if (isSaid) pending = pending?.remove() ?? null;
    else if (!pending) log.append(pending = element("article", { class: "mullama-message mullama-user mullama-pending" },
      element("div", { class: "mullama-role" }, NAMES.user), element("div", { class: "mullama-text" }, waits)));
    if (!html) draft = draft?.node.remove() ?? null;
    else {
      if (!draft) log.append((draft = drawMessage(model)).node);
      draft.update({ role: "assistant", html }, true);
    }
    if (log.childElementCount > Number(empty.isConnected)) empty.remove();
    else log.append(empty);
    toEnd();
  }
  /** How far the model is with what it has to read before it answers, where that is known. */
  function read() {
    const { progress, draft: html } = state();
    reading.hidden = Boolean(html) || !(progress || model.get("is_busy"));
    if (progress) [bar.value, bar.max] = progress;
    else bar.removeAttribute("value");
    const figures = (progress ?? []).map((n) => n.toLocaleString("en"));
    count.textContent = progress ? `Reading ${figures[0]} of ${figures[1]} tokens` : "Reading";
  }
  function refresh() {
    rows.forEach((row) => row.refresh());
    last();
    read();
    fit();
  }
  const listeners = {
    "change:is_busy change:detail change:alternatives change:pending": refresh,
    "change:in_cell": fit,
    "change:error": giveBack,
  };
  Object.entries(listeners).forEach(([names, listener]) => model.on(names, listener));
  return {
    update(change) {
      if (!change || change.messages) arrange();
      else if (change.draft) last();
      read();
      fit();
    },
    destroy() {
      observer.disconnect();
      Object.entries(listeners).forEach(([names, listener]) => model.off(names, listener));
    },
  };
}

export default define({ start, apply, draw });
