const ENDS = { stop: "", length: "cut off", stopped: "stopped" };

function start(snapshot) {
  return { texts: snapshot.texts ?? [], answers: snapshot.answers ?? [] };
}

function apply(state, change) {
  if (change.begins) state = start({});
  for (const [branch, at, html] of change.texts ?? []) {
    state.texts[branch] = (state.texts[branch] ?? "").slice(0, at) + html;
  }
  if (change.answers) state.answers = change.answers;
  return state;
}

function drawAnswer(model, branch) {
  let answer = null;
  const text = element("div", { class: "mullama-text", tabindex: 0 });
  const button = (label, title, action) =>
    element("button", { type: "button", title, "aria-label": `${title} (answer ${branch + 1})`, onclick: () => send(model, action, { checkpoint: answer.id }) }, label);
  const keep = button("Keep", "Go on from this answer", "keep");
  const drop = button("Drop others", "Keep this answer and remove the others", "drop_others");
  const note = element("span", { class: "mullama-note" });
  const tools = element("div", { class: "mullama-answer-tools" }, keep, drop, note);
  const node = element("div", { class: "mullama-answer", role: "listitem", "aria-label": `Answer ${branch + 1}` }, text, tools);
  return {
    node,
    update(html, found, n) {
      answer = found;
      const follows = text.scrollHeight - text.scrollTop - text.clientHeight < 24;
      renew(text, html ?? "");
      if (!answer && follows) text.scrollTop = text.scrollHeight;
      node.setAttribute("aria-busy", !answer);
      node.classList.toggle("kept", Boolean(answer?.is_kept));
      node.classList.toggle("gone", answer?.is_there === false);
      keep.hidden = drop.hidden = !answer?.is_there;
      keep.disabled = answer?.is_kept;
      keep.textContent = answer?.is_kept ? "Kept" : "Keep";
      drop.disabled = n < 2;
      note.textContent = !answer ? "…" : answer.is_there
        ? [`${answer.tokens} tokens`, ENDS[answer.finish_reason] ?? answer.finish_reason].filter(Boolean).join(", ") : "dropped";
    },
  };
}

function draw(body, { model, state }) {
  const box = element("textarea", { rows: 1, "aria-label": "Question", placeholder: "Ask for several answers, or leave empty for the last question", onkeydown: typed });
  const count = element("input", { type: "number", min: 2, max: 16, value: 4, "aria-label": "Number of answers", title: "Number of answers" });
  const go = element("button", { type: "button", class: "mullama-main", onclick: explore }, "Explore");
  const halt = element("button", { type: "button", onclick: () => stop(model) }, "Stop");
  const grid = element("div", { class: "mullama-answers", role: "list", "aria-label": "Answers" });
  body.classList.add("mullama-explorer");
  body.append(element("div", { class: "mullama-ask" }, box, count, go, halt), grid);
  const cards = [];
  function typed(event) {
    event.stopPropagation(); // the notebook has its own keys
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); explore(); }
  }
  function explore() {
    if (!model.get("is_busy")) send(model, "explore", { text: box.value.trim(), n: Number(count.value) });
  }
  function update() {
    const { texts, answers } = state();
    go.disabled = model.get("is_busy");
    halt.disabled = !(model.get("is_busy") || model.get("in_cell") || texts.length > answers.length);
    const n = Math.max(texts.length, answers.length);
    while (cards.length > n) cards.pop().node.remove();
    while (cards.length < n) {
      cards.push(drawAnswer(model, cards.length));
      grid.append(cards.at(-1).node);
    }
    const left = answers.filter((answer) => answer.is_there).length;
    cards.forEach((card, branch) => card.update(texts[branch], answers[branch], left));
  }
  model.on("change:is_busy change:in_cell", update);
  return { update, destroy: () => model.off("change:is_busy change:in_cell", update) };
}

export default define({ start, apply, draw });
