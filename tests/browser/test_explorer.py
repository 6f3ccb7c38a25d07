"""Several answers, side by side."""

from __future__ import annotations

from browser.lab import Opener
from browser.test_widgets import CHAT
from playwright.sync_api import expect


def test_answers_are_siblings_in_the_tree(notebook: Opener) -> None:
    opened = notebook(
        CHAT.replace("n_ctx=1024", "n_ctx=512"),
        "from mullama_nb.widgets.explorer import Explorer\npanel = Explorer(chat); panel",
    )
    opened.run()
    area = opened.area(1)
    area.get_by_label("Question").fill("Which one?")
    area.get_by_label("Number of answers").fill("3")
    area.get_by_label("Question").press("Enter")
    opened.wait_until("chat.messages[-1]['content'] == 'Which one?' and not panel.is_busy")

    expect(area.get_by_role("listitem")).to_have_count(3)
    assert opened.evaluate("len(chat.head.children)") == 3
