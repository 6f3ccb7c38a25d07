// @ts-check
// A way to say a system message where there is none.

import { button, element } from "./dom.js";
import { makeEditor } from "./message_editor.js";

/** @import { Message } from "./message.js" */
/** @import { PanelModel } from "./message_tokens.js" */

/**
 * @param {PanelModel} model
 * @param {() => Message[]} messages
 */
export function makeInstruct(model, messages) {
  /** @type {ReturnType<typeof makeEditor> | null} */
  let editor = null;
  const title = "Tell the model how to answer, before the first message";
  const open = button("Add a system message", title, () => {
    editor = makeEditor(model, { role: "system" }, messages().length > 0, () => {
      editor = null;
      update();
      if (!node.hidden) open.focus();
    });
    update();
    editor.field.focus();
  });
  const node = element("div", { class: "mullama-instruct" }, open);

  function update() {
    node.hidden = messages()[0]?.role === "system";
    if (node.hidden) editor = null;
    const shown = editor?.node ?? open;
    if (node.firstChild !== shown) node.replaceChildren(shown);
    open.disabled = model.get("is_busy");
    editor?.update();
  }
  return { node, update };
}
