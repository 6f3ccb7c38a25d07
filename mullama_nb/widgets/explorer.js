function start() { return { texts: [] }; }

function apply(state, change) {
  for (const [branch, text] of change.texts) state.texts[branch] = (state.texts[branch] ?? "") + text;
}

function draw(body, { model, state }) {
  const box = element("textarea", { rows: 2, "aria-label": "Question", placeholder: "Ask for several answers", onkeydown: typed });
  const count = element("input", { type: "number", min: 2, max: 16, value: 4, "aria-label": "Number of answers" });
  const go = element("button", { type: "button", onclick: explore }, "Explore");
  const halt = element("button", { type: "button", onclick: () => stop(model) }, "Stop");
  const grid = element("div", { class: "mullama-answers", role: "list", "aria-label": "Answers" });
  body.append(element("div", { class: "mullama-ask" }, box, count, go, halt), grid);
  function typed(event) {
    event.stopPropagation();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); explore(); }
  }
  function explore() {
    if (model.get("is_busy")) return;
    state().texts.length = 0;
    send(model, "explore", { text: box.value.trim(), n: Number(count.value) });
  }
  function update() {
    const answers = model.get("answers") ?? [];
    go.disabled = model.get("is_busy");
    halt.disabled = !model.get("is_busy");
    const n = answers.length || state().texts.length;
    grid.replaceChildren(...Array.from({ length: n }, (_, branch) => {
      const answer = answers[branch];
      const text = element("div", { class: "mullama-answer-text" }, answer ? null : state().texts[branch] ?? "");
      if (answer) text.innerHTML = answer.html; // rendered and cleaned by the kernel
      const act = (action) => () => send(model, action, { branch });
      return element("div", { class: "mullama-answer", role: "listitem" }, text, answer
        ? element("div", { class: "mullama-answer-tools" }, element("span", {}, answer.finish_reason),
          element("button", { type: "button", disabled: !answer.is_there, onclick: act("keep") }, "Keep"),
          element("button", { type: "button", disabled: !answer.is_there, onclick: act("drop_others") }, "Drop others"))
        : null);
    }));
  }
  model.on("change:is_busy change:answers", update);
  return { update, destroy: () => model.off("change:is_busy change:answers", update) };
}

export default define({ start, apply, draw });
