// @ts-check
// The sessions and chats of a folder, to save, load and delete.

import { define } from "./define.js";
import { element } from "./dom.js";
import { age, plural, size } from "./format.js";
import { send } from "./kernel.js";

/** @import { Model, Traits } from "./kernel.js" */

/**
 * What is saved under one name.
 *
 * @typedef {object} Session
 * @property {string} name
 * @property {string} kind
 * @property {string} model
 * @property {string} type of the KV cache
 * @property {number} tokens
 * @property {number} bytes
 * @property {string | null} created an ISO time
 * @property {string} why it cannot be loaded; empty where it can
 */

/** @typedef {{ rows: Session[], can_save: boolean, said: string }} Snapshot */

/** @param {Partial<Snapshot>} snapshot @returns {Snapshot} */
function start({ rows = [], can_save = false, said = "" }) {
  return { rows, can_save, said };
}

/**
 * @param {HTMLElement} body
 * @param {{ model: Model<Traits>, state: () => Snapshot }} scope
 */
function draw(body, { model, state }) {
  const top = makeTop(model, state);
  const list = element("div", { class: "list", role: "list", "aria-label": "Saved sessions" });
  const nothing = element("div", { class: "nothing" }, "Nothing is saved here.");
  const news = element("div", { class: "news", role: "status" });
  const parts = [top.node, list, nothing, news];
  body.append(element("div", { class: "mullama-sessions" }, parts));
  /** @type {string | null} */
  let asked = null; // the name whose deletion waits for a yes

  /** @param {string | null} name */
  function ask(name) {
    asked = name;
    paint();
    /** @type {HTMLElement | null} */ (list.querySelector(".keep"))?.focus();
  }
  /** @param {string} name */
  function remove(name) {
    asked = null;
    send(model, "delete", { name });
  }
  /** @param {Session} session */
  function actions({ name, why }) {
    const named = (/** @type {string} */ words, /** @type {() => unknown} */ onclick) => ({
      "aria-label": words,
      onclick,
    });
    if (asked === name) {
      const sure = named(`Delete for good: ${name}`, () => remove(name));
      const keep = named(`Keep ${name}`, () => ask(null));
      return [
        element("button", { class: "mullama-danger", ...sure }, "Delete for good"),
        element("button", { class: "keep", ...keep }, "Keep"),
      ];
    }
    const load = named(`Load ${name}`, () => send(model, "load", { name }));
    return [
      element("button", { disabled: Boolean(why), ...load }, "Load"),
      element("button", named(`Delete ${name}`, () => ask(name)), "Delete"),
    ];
  }
  function paint() {
    const { rows, said } = state();
    top.update();
    news.textContent = said;
    list.replaceChildren(...rows.map((session) => drawSession(session, actions(session))));
    list.hidden = !rows.length;
    nothing.hidden = rows.length > 0;
  }
  return { update: paint };
}

/**
 * The field to save under a name, and the button to look again.
 *
 * @param {Model<Traits>} model
 * @param {() => Snapshot} state
 */
function makeTop(model, state) {
  /** @type {string | null} */
  let saving = null; // the name that would be replaced
  const input = element("input", {
    placeholder: "Save this chat as…",
    "aria-label": "Name to save the chat under",
    oninput: () => {
      saving = null;
      update();
    },
  });
  for (const kind of ["keydown", "keyup"]) {
    input.addEventListener(kind, (event) => event.stopPropagation()); // the notebook has its keys
  }
  const save = element("button", { type: "submit" }, "Save");
  const form = element("form", { onsubmit }, input, save);
  const again = { title: "Look again", "aria-label": "Look again" };
  const look = element("button", { ...again, onclick: () => send(model, "refresh") }, "↻");

  /** @param {Event} event */
  function onsubmit(event) {
    event.preventDefault();
    const name = input.value.trim();
    if (!name) return input.focus();
    if (saving !== name && state().rows.some((session) => session.name === name)) {
      saving = name;
      return update();
    }
    send(model, "save", { name, replace: saving === name });
    saving = null;
    input.value = "";
    update();
  }
  function update() {
    form.hidden = !state().can_save;
    save.textContent = saving ? `Replace ${saving}` : "Save";
    save.classList.toggle("mullama-danger", Boolean(saving));
  }
  return { node: element("div", { class: "top" }, form, look), update };
}

/**
 * @param {Session} session
 * @param {Node[]} actions
 */
function drawSession({ name, kind, model, type, tokens, bytes, created, why }, actions) {
  const made = age(created, Date.now());
  const attributes = { class: `session${why ? " unfit" : ""}`, role: "listitem" };
  return element(
    "div",
    attributes,
    element("span", { class: "name", title: name }, name),
    element("span", { class: "figure optional" }, plural(tokens, "token")),
    element("span", { class: "figure" }, size(bytes)),
    element("span", { class: "figure optional", title: created ?? "" }, made),
    element("span", { class: "do" }, actions),
    element("span", { class: "about" }, [kind, model, type].filter(Boolean).join(" · ")),
    why ? element("span", { class: "why" }, why) : null,
  );
}

export default define({
  start,
  apply: (/** @type {Snapshot} */ state, /** @type {never} */ _) => state, // snapshots alone come
  draw,
});
