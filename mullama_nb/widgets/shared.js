/** Make an element; text is text, never markup. Attributes named on* are listeners. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, String(value));
  }
  for (const child of children.flat()) {
    if (child != null) made.append(child instanceof Node ? child : String(child));
  }
  return made;
}

/** Show HTML that the kernel has rendered and cleaned; what is the same already is left alone. */
function renew(node, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  match(node, template.content);
}

function match(old, made) {
  const wanted = [...made.childNodes];
  wanted.forEach((next, i) => {
    const now = old.childNodes[i];
    if (!now) old.append(next);
    else if (now.isEqualNode(next)) return;
    else if (now.nodeType === Node.TEXT_NODE && next.nodeType === Node.TEXT_NODE) {
      if (next.data.startsWith(now.data)) now.appendData(next.data.slice(now.data.length));
      else now.data = next.data;
    } else if (now.cloneNode().isEqualNode(next.cloneNode())) match(now, next);
    else now.replaceWith(next);
  });
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}

/** Ask the kernel for an action: do_<action> of the widget gets the arguments. */
function send(model, action, args = {}) {
  model.send({ ...args, kind: "do", action });
}

/**
 * Stop generation. Where the kernel keeps messages waiting until a cell has ended, interrupt it, but
 * not beside a message that it heeds: an interrupt that comes when the cell ends would lose its reply.
 */
function stop(model) {
  model.send({ kind: "stop" });
  const kernel = model.widget_manager?.kernel; // undocumented, so it may be missing
  setTimeout(() => {
    if (model.get("in_cell")) kernel?.interrupt?.()?.catch?.(() => {});
  }, 400);
}

/** Have what moves away below a resting pointer, as more is said, be pressed all the same. */
function holdPresses(el) {
  el.addEventListener("pointerdown", (down) => {
    const pressed = down.target.closest('button, [role="treeitem"]');
    if (!pressed || down.button !== 0) return;
    const end = (up) => {
      for (const kind of ["pointerup", "pointercancel"]) window.removeEventListener(kind, end, true);
      const rests = Math.hypot(up.clientX - down.clientX, up.clientY - down.clientY) < 4;
      if (up.type === "pointerup" && rests && !up.composedPath().includes(pressed)) pressed.click();
    };
    for (const kind of ["pointerup", "pointercancel"]) window.addEventListener(kind, end, true);
  });
}

const LOST = Symbol("lost");
const PAGE = (window.mullamaPage ??= Date.now().toString(36) + Math.random().toString(36).slice(2));
const QUIET = 1000; // ms in which a view that was moved comes back

/** Tell the kernel how many views there are: none any more, or of a page that is left, lets it free things. */
function tellOfViews(model, views) {
  let timer;
  const say = (content) => {
    try {
      model.send({ ...content, page: PAGE });
    } catch {} // the kernel is gone
  };
  const tell = () => say({ kind: "views", n: views.size });
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(tell, QUIET);
  };
  const leave = () => say({ kind: "away" });
  const comeBack = ({ persisted }) => persisted && views.size && tell();
  window.addEventListener("pagehide", leave);
  window.addEventListener("pageshow", comeBack);
  return {
    tell,
    soon,
    end() {
      clearTimeout(timer);
      window.removeEventListener("pagehide", leave);
      window.removeEventListener("pageshow", comeBack);
    },
  };
}

/**
 * A front end with one state a model and any number of views drawn from it.
 *
 * start(snapshot) gives the state; apply(state, change) changes it and may return a new one, or
 * LOST where the change does not fit and a snapshot has to be taken;
 * draw(body, {model, state(): state}) gives {update(change | null), destroy()?}.
 * Use it as `export default define({start, apply, draw})`.
 */
function define({ start, apply, draw }) {
  return () => {
    let state;
    let number = 0;
    let told;
    const views = new Set();
    const update = (change) => views.forEach((view) => view.update(change));
    const load = (snapshot) => {
      number = snapshot.number ?? 0;
      state = start(snapshot);
      update(null);
    };
    return {
      initialize({ model }) {
        load(model.get("snapshot") ?? {});
        told = tellOfViews(model, views);
        const receive = (message) => {
          if (message.kind === "shown") return told.soon();
          if (message.kind === "snapshot") return load(message.snapshot);
          if (message.kind !== "change" || message.number <= number) return;
          if (message.number > number + 1) return model.send({ kind: "resync" }); // one was lost
          const next = apply(state, message);
          if (next === LOST) return model.send({ kind: "resync" });
          number = message.number;
          state = next ?? state;
          update(message);
        };
        model.on("msg:custom", receive);
        return () => {
          told.end();
          model.off("msg:custom", receive);
        };
      },
      render({ model, el }) {
        const banner = element("div", { class: "mullama-error", role: "alert", hidden: true });
        const body = element("div", { class: "mullama-body" });
        el.classList.add("mullama");
        el.replaceChildren(banner, body);
        holdPresses(el);
        const warn = () => {
          banner.textContent = model.get("error");
          banner.hidden = !banner.textContent;
        };
        const view = draw(body, { model, state: () => state });
        views.add(view);
        view.update(null);
        warn();
        model.on("change:error", warn);
        if (views.size === 1) told.tell();
        return () => {
          views.delete(view);
          if (!views.size) told.soon();
          model.off("change:error", warn);
          view.destroy?.();
        };
      },
    };
  };
}
