"""Cells that are run again in JupyterLab: what the kernel lets go of, and what goes on."""

from __future__ import annotations

import pytest
from browser.lab import Notebook, Opener
from playwright.sync_api import expect

BEGIN = """
import weakref
from mullama_nb import Chat, Model
from mullama_nb.engine import resting
from mullama_nb.widgets import ChatPanel, Timeline, UndoRedo

model = Model.load("tiny.gguf")
ask = Chat.ask
Chat.ask = lambda chat, *what, **options: ask(chat, *what, **{"max_tokens": 8, **options})
made = weakref.WeakSet()
def new():
    made.add(chat := Chat(model, n_ctx=1024, n_threads=1, n_threads_batch=1, seed=1))
    return chat
def awake():
    return sum(not chat.context.is_resting for chat in made)
"""
OURS = (
    "len([w for w in __import__('ipywidgets').widgets.widget._instances.values()"
    " if 'mullama' in type(w.__repr__.__self__).__module__])"
)
KERNELS = ["python3", "ipykernel-7.3"]


def settle(opened: Notebook, nothing: int, condition: str) -> None:
    """Run a cell that does nothing until a condition holds: what goes, goes after a cell."""
    for _ in range(20):
        opened.run(nothing)
        if opened.evaluate(f"bool({condition})"):
            return
    raise AssertionError(f"never true in the kernel: {condition}")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cell", ["chat = new(); chat", "chat = new(); display(chat)"])
def test_the_newest_panel_works_and_older_chats_go(
    notebook: Opener, kernel: str, cell: str
) -> None:
    opened = notebook(BEGIN, cell, "None", kernel=kernel, fresh=True)
    opened.run(0)
    area = opened.area(1)
    box = area.get_by_label("Message", exact=True)
    for _ in range(6):
        opened.run(1)
        expect(box).to_be_visible()
    settle(opened, 2, "awake() == 1")
    if "display" in cell:  # nothing but pages held them: those let go, and cells ask them
        settle(opened, 2, "len(made) == 1")
        opened.wait_until(f"{OURS} <= 5")

    box.fill("Hello?")
    area.get_by_role("button", name="Send").click()
    question = area.locator("article").filter(has_text="Hello?")
    expect(question).to_be_visible()
    opened.wait_until("len(chat.turns) == 2")
    area.get_by_role("button", name="Undo", exact=True).click()
    opened.wait_until("not chat.turns")
    expect(question).to_have_count(0)
    assert opened.evaluate("awake()") == 1


def test_what_is_shown_twice_stays_while_one_view_does(notebook: Opener) -> None:
    shown = "display(panel := ChatPanel(new()))"
    opened = notebook(BEGIN, shown, "panel", "del panel", "None", fresh=True)
    opened.run(0, 1, 2, 3)
    opened.page.evaluate(
        """() => {
          const { content } = window.jupyterapp.shell.currentWidget;
          content.widgets[1].model.clearExecution();
        }"""
    )
    for _ in range(3):
        opened.run(4)
    area = opened.area(2)
    area.get_by_label("Message", exact=True).fill("Still there?")
    area.get_by_role("button", name="Send").click()
    expect(area.locator("article").filter(has_text="Still there?")).to_be_visible()


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_page_that_is_left_and_opened_again(notebook: Opener, kernel: str) -> None:
    cells = (BEGIN, "chat = new(); chat", "display(new())", "None")
    opened = notebook(*cells, kernel=kernel, fresh=True)
    opened.run()
    for index in (1, 2):
        expect(opened.area(index).get_by_label("Message", exact=True)).to_be_visible()
    opened.save()
    settle(opened, 3, "awake() == 1")  # what no variable names rests, and wakes with a click
    shown = opened.area(2)
    shown.get_by_label("Message", exact=True).fill("Hello?")
    shown.get_by_role("button", name="Send").click()
    expect(shown.locator("article").filter(has_text="Hello?")).to_be_visible()
    opened.wait_until("sum(len(c.turns) for c in made) == 2")
    assert opened.evaluate("awake()") == 2

    opened.save()
    opened.open()
    opened.wait_until("awake() == 1")  # it was told that the page was left
    assert opened.evaluate("len(made)") == 2
    for index in (1, 2):
        area = opened.area(index)
        area.get_by_label("Message", exact=True).fill("Once more")
        area.get_by_role("button", name="Send").click()
        expect(area.locator("article").filter(has_text="Once more")).to_be_visible()
    opened.wait_until("sorted(len(c.messages) for c in made) == [2, 4]")
