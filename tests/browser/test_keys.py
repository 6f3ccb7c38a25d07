"""Keys and focus in every widget: the notebook around it sees nothing of them."""

from __future__ import annotations

from typing import Any

import pytest
from browser.lab import Notebook, Opener
from browser.test_widgets import CHAT

from mullama_nb import widgets

KINDS = {
    **dict.fromkeys(widgets.__all__, "(chat)"),
    "SessionBrowser": "('sessions', chat)",
}
SHOWN = f"""
from mullama_nb.widgets import *
chat.ask("Go on.", max_tokens=4, echo=False)
display({", ".join(name + arguments for name, arguments in KINDS.items())})
"""
KEYS = [
    *"abcdefghijklmnopqstuvwxyzABCDFJKLMSVXYZ0123456789/-+",
    *("Escape", "Delete", "Backspace", "Enter", "Home", "End", "PageDown", "Tab"),
    *("ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Shift+ArrowDown", "Shift+ArrowUp"),
    *("Shift+Enter", "Control+Enter", "Alt+Enter", "Control+a", "Control+Shift+ArrowDown"),
    *("Space", "Shift+Space"),
]
CELLS = """() => {
  const { content, context } = window.jupyterapp.shell.currentWidget;
  const cells = content.widgets.map(({ model }) => [model.type, model.sharedModel.source]);
  const { id, status } = context.sessionContext.session.kernel;
  const dialogs = document.querySelectorAll('.jp-Dialog, .jp-modal-dialog').length;
  return { cells, mode: content.mode, kernel: id, dialogs };
}"""
# After each key the focus is brought back to a widget that it has left.
STAY = """root => {
  window.stay?.abort();
  window.stay = new AbortController();
  document.addEventListener('keyup', ({ key }) => {
    if (key === 'Tab' || !root.matches(':focus-within')) root.focus();
  }, { capture: true, signal: window.stay.signal });
}"""
# Takes away what has the focus, in one of several ways; whether the widget still has it then.
TAKE_AWAY = """async ([root, n]) => {
  const stops = [...root.querySelectorAll('button:enabled, [tabindex="0"]')]
    .filter((each) => each.checkVisibility());
  if (!stops.length) return null;
  const stop = stops[n % stops.length];
  stop.focus();
  if (document.activeElement !== stop) return null;
  const ways = [
    () => stop.remove(),
    () => { stop.hidden = true; stop.disabled = true; },
    () => stop.parentElement.remove(),
    () => stop.parentElement.prepend(stop),
  ];
  if (stop.parentElement.classList.contains('mullama-body')) ways.splice(2, 1);
  ways[n % ways.length]();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const now = document.activeElement;
  return root.contains(now) && now.checkVisibility() && !now.matches(':disabled');
}"""


# JupyterLab hears a key after the widget, Notebook 7 before it.
@pytest.fixture(params=["lab/tree", "notebooks"])
def opened(notebook: Opener, request: pytest.FixtureRequest) -> Notebook:
    made = notebook(CHAT, SHOWN, "# another cell", app=request.param)
    made.run(0, 1)
    return made


def state(opened: Notebook) -> dict[str, Any]:
    found: dict[str, Any] = opened.page.evaluate(CELLS)
    return found


def test_a_notebook_hears_no_key_of_a_widget(opened: Notebook) -> None:
    page, area = opened.page, opened.area(1)
    inside = ":not(.mullama .mullama)"
    roots = area.locator(f".mullama{inside}")
    roots.nth(len(KINDS) - 1).wait_for()
    assert roots.count() == len(KINDS)
    page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1; }")
    for n in range(len(KINDS)):
        root = roots.nth(n)
        root.focus()
        before = state(opened)
        root.evaluate(STAY)
        for key in KEYS:
            page.keyboard.press(key)
        assert state(opened) == before, n

    # The same keys are the notebook's beside the widgets.
    page.evaluate("() => window.stay.abort()")
    area.evaluate("el => el.append(document.createElement('button'))")
    area.locator("> button").focus()
    page.keyboard.press("m")
    assert state(opened)["cells"][1][0] == "markdown"


def test_the_focus_stays_in_a_widget_when_its_element_goes(notebook: Opener) -> None:
    opened = notebook(CHAT, SHOWN)
    opened.run()
    roots = opened.area(1).locator(".mullama:not(.mullama .mullama)")
    roots.nth(len(KINDS) - 1).wait_for()
    n_tried = 0
    for n in range(len(KINDS)):
        for k in range(8):
            root = roots.nth(n).element_handle()
            stays = opened.page.evaluate(TAKE_AWAY, [root, 5 * k + n])
            n_tried += stays is not None
            assert stays is not False, (n, k)
    assert n_tried > 30
