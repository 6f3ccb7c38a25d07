const NAMES = { user: "You", assistant: "Model", system: "System", tool: "Tool" };

function start(snapshot) {
  return { messages: snapshot.messages ?? [], draft: snapshot.draft ?? "", progress: null };
}

function apply(state, change) {
  if (change.event === "messages") return { messages: change.messages, draft: change.draft, progress: null };
  if (change.event === "text") return { ...state, draft: state.draft + change.text, progress: null };
  if (change.event === "progress") return { ...state, progress: change };
}

function draw(body, { model, state }) {
  const log = element("div", { class: "mullama-log", role: "log", "aria-live": "polite", "aria-label": "Messages", tabindex: 0 });
  const bar = element("progress", { class: "mullama-progress", "aria-label": "Evaluating", hidden: true });
  const box = element("textarea", { rows: 2, "aria-label": "Message", placeholder: "Write a message", onkeydown: typed, oninput: () => fit() });
  const sendButton = element("button", { type: "button", onclick: submit }, "Send");
  const stopButton = element("button", { type: "button", onclick: () => stop(model) }, "Stop");
  body.classList.add("mullama-chat");
  body.append(log, bar, element("div", { class: "mullama-write" }, box, sendButton, stopButton));
  let draft = null;
  let editing = null;
  let opened = null;

  function typed(event) {
    event.stopPropagation(); // the notebook has its own keys
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  }
  function fit() {
    sendButton.disabled = !box.value.trim() || model.get("is_busy");
    stopButton.disabled = !(model.get("is_busy") || state().draft || state().progress);
  }
  function submit() {
    const text = box.value.trim();
    if (!text || model.get("is_busy")) return;
    send(model, "ask", { text });
    box.value = "";
    fit();
  }
  function button(label, title, onclick) {
    return element("button", { type: "button", title, "aria-label": title, onclick }, label);
  }
  function editor(message) {
    const field = element("textarea", { rows: 3, "aria-label": "Edited message" });
    field.value = message.text;
    const close = () => { editing = null; everything(); };
    const save = () => { send(model, "edit", { id: message.id, text: field.value }); close(); };
    field.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") close();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); save(); }
    });
    queueMicrotask(() => field.focus());
    return element("div", { class: "mullama-edit" }, field, element("div", {}, button("Save", "Save as another version", save), button("Cancel", "Cancel", close)));
  }
  function tokens(message) {
    const detail = model.get("detail") ?? {};
    if (detail.id !== message.id) return element("div", {}, "…");
    const view = element("div", { class: "mullama-tokens" }, (detail.tokens ?? []).map(([text, p], token) =>
      element("button", {
        type: "button", style: `--doubt: ${Math.round((1 - p) * 60)}%`, title: `${(100 * p).toFixed(1)} %`,
        "aria-pressed": detail.at === token,
        onclick: () => send(model, "alternatives", { id: message.id, token }),
      }, text)));
    if (!detail.alternatives) return view;
    return [view, element("div", { class: "mullama-alternatives", role: "group", "aria-label": "Alternatives" },
      detail.alternatives.map(([id, text, p]) =>
        button(`${JSON.stringify(text)} ${(100 * p).toFixed(1)} %`, "Go on from here with this token",
          () => send(model, "fork", { id: message.id, token: detail.at, choose: id }))))];
  }
  function row(message, isLast) {
    const content = element("div", { class: "mullama-text" });
    if (editing === message.id) content.append(editor(message));
    else if (opened === message.id) content.append(...[tokens(message)].flat());
    else content.innerHTML = message.html; // rendered and cleaned by the kernel
    const tools = element("div", { class: "mullama-tools" });
    const at = message.siblings.indexOf(message.id);
    const n = message.siblings.length;
    if (n > 1) {
      const show = (to) => () => send(model, "show", { id: message.siblings[to] });
      const left = button("‹", "Previous version", show(at - 1));
      const right = button("›", "Next version", show(at + 1));
      left.disabled = at <= 0;
      right.disabled = at >= n - 1;
      tools.append(left, element("span", {}, `${at + 1}/${n}`), right);
    }
    if (message.role !== "system") tools.append(button("Edit", "Edit this message", () => { editing = message.id; everything(); }));
    if (message.role === "assistant") tools.append(button("Regenerate", "Another answer", () => send(model, "regenerate", { id: message.id })));
    if (message.tokens) {
      const toggle = button("Tokens", "Show how likely each token was", () => {
        opened = opened === message.id ? null : message.id;
        if (opened) send(model, "tokens", { id: message.id });
        everything();
      });
      toggle.setAttribute("aria-pressed", opened === message.id);
      tools.append(toggle);
    }
    if (message.unfinished && isLast) {
      tools.append(element("span", {}, "unfinished"), button("Continue", "Go on with this answer", () => send(model, "resume")));
    }
    return element("article", { class: `mullama-message mullama-${message.role === "user" ? "user" : "other"}` },
      element("div", { class: "mullama-role" }, NAMES[message.role] ?? message.role), content, tools);
  }
  function everything() {
    const { messages } = state();
    draft = null;
    log.replaceChildren(...messages.map((message, i) => row(message, i === messages.length - 1)));
    if (!messages.length && !state().draft) log.append(element("p", { class: "mullama-empty" }, "Say something to begin."));
    streaming();
    log.scrollTop = log.scrollHeight;
  }
  function streaming() {
    if (!state().draft) return;
    if (!draft) {
      draft = element("div", { class: "mullama-text mullama-draft" });
      log.querySelector(".mullama-empty")?.remove();
      log.append(element("article", { class: "mullama-message mullama-other" }, element("div", { class: "mullama-role" }, NAMES.assistant), draft));
    }
    const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    draft.textContent = state().draft;
    if (follows) log.scrollTop = log.scrollHeight;
  }
  model.on("change:is_busy", fit);
  model.on("change:detail", everything);
  return {
    update(change) {
      if (!change || change.event === "messages") everything();
      else if (change.event === "text") streaming();
      const { progress } = state();
      bar.hidden = !progress || progress.evaluated >= progress.total;
      if (progress) { bar.max = progress.total; bar.value = progress.evaluated; }
      fit();
    },
    destroy() {
      model.off("change:is_busy", fit);
      model.off("change:detail", everything);
    },
  };
}

export default define({ start, apply, draw });
