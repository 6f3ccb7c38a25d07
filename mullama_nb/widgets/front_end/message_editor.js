// @ts-check
// A field with what a message says, to say something else instead.

import { button, element, onEnter } from "./dom.js";
import { send } from "./kernel.js";

/** @import { PanelModel } from "./message_tokens.js" */

/**
 * @param {PanelModel} model
 * @param {{ id?: string, role?: string, text?: string }} message one without an id is a new one
 * @param {boolean} isAnswered whether the model gives an answer to it
 * @param {() => void} close
 */
export function makeEditor(model, { id = "", role, text = "" }, isAnswered, close) {
  const field = element("textarea", { rows: 3, "aria-label": "Edited message" });
  field.value = text;
  const save = () => {
    if (model.get("is_busy") || !field.value.trim()) return;
    if (role === "system") send(model, "instruct", { text: field.value });
    else send(model, "edit", { checkpoint: id, text: field.value });
    close();
  };
  onEnter(field, save, close);
  const saveButton = isAnswered
    ? button("Ask again", "Have this answered, as another version", save)
    : button("Save", "Save as another version", save);
  const buttons = [saveButton, button("Cancel", "Cancel", close)];
  const node = element(
    "div",
    { class: "mullama-edit" },
    field,
    element("div", { class: "mullama-buttons" }, buttons),
  );
  return {
    node,
    field,
    update() {
      saveButton.disabled = model.get("is_busy");
    },
  };
}
