export default define({
  start: (snapshot) => snapshot,
  apply: (_, change) => change,
  draw(body, { model, state }) {
    const button = (label, title, action, args) =>
      element("button", { type: "button", title, "aria-label": title, onclick: () => send(model, action, args) }, label);
    const undo = button("Undo", "Undo", "undo");
    const redo = button("Redo", "Redo", "redo");
    const again = button("Regenerate", "Answer again", "regenerate");
    const left = button("‹", "Previous version", "sibling", { step: -1 });
    const right = button("›", "Next version", "sibling", { step: 1 });
    const place = element("span", { class: "mullama-place", "aria-live": "polite" });
    const bar = element("div", { class: "mullama-steps", role: "toolbar", "aria-label": "Undo and redo" });
    bar.append(undo, redo, again, left, place, right);
    body.append(bar);
    return {
      update() {
        const steps = state();
        undo.textContent = `Undo ${steps.undo || ""}`.trim();
        redo.textContent = `Redo ${steps.redo || ""}`.trim();
        undo.disabled = !steps.undo;
        redo.disabled = !steps.redo;
        again.disabled = !steps.answered;
        place.textContent = `${steps.sibling}/${steps.siblings}`;
        left.disabled = steps.sibling <= 1;
        right.disabled = steps.sibling >= steps.siblings;
      },
    };
  },
});
