// @ts-check
// A field with what a message says, to say something else instead.

import { button, element, onEnter } from "./dom.js";
import { send } from "./kernel.js";

/** @import { PanelModel } from "./message_tokens.js" */

/**
 * @param {PanelModel} model
 * @param {{ id: string, text: string }} message
 * @param {() => void} close
 */
export function makeEditor(model, { id, text }, close) {
  const field = element("textarea", { rows: 3, "aria-label": "Edited message" });
  field.value = text;
  const save = () => {
    if (model.get("is_busy")) return;
    send(model, "edit", { checkpoint: id, text: field.value });
    close();
  };
  onEnter(field, save, close);
  const saveButton = button("Save", "Save as another version", save);
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
