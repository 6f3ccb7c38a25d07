"""The tree of likely continuations in JupyterLab: to look at, and to go on in."""

from __future__ import annotations

import pytest
from browser.lab import Notebook, Opener
from browser.test_stop import CHAT as SLOW
from browser.test_widgets import CHAT
from browser.themes import check_reading
from playwright.sync_api import expect

PANEL = """
from mullama_nb.widgets import Likely
panel = Likely(chat, depth=3, min_p=0.0, width=2)
panel
"""
HOSTILE = r"""
from mullama_nb.engine.continuations import Continuation
from mullama_nb.widgets.likely_tree import lay_out
texts = ["<img src=x onerror='window.hurt=1'>", "\u202eevil", "\n\n", "\x00\x1b[31m",
         "\u05e9\u05dc", "\u0301" * 8, " " * 99, ""]
roots = tuple(Continuation(i, text, 0.1, 0.1, (), i == 0) for i, text in enumerate(texts))
panel._layout = lay_out(roots)
panel.queue_change(panel._tree())
"""


@pytest.fixture
def likely(notebook: Opener) -> Notebook:
    """A tree of 14 tokens in the second cell, and again in the third."""
    opened = notebook(CHAT, PANEL, "panel", HOSTILE)
    opened.run(0, 1, 2)
    expect(opened.area(1).get_by_role("treeitem")).to_have_count(14)
    return opened


def test_a_click_goes_on_from_there_in_every_view(likely: Notebook) -> None:
    wanted = likely.evaluate("[each.token for each in panel._layout.grown[2].path]")
    one, two = likely.area(1), likely.area(2)
    before = one.locator(".mullama-likely-before").inner_text()
    two.get_by_role("treeitem").nth(2).click()
    likely.wait_until("panel.found.checkpoint is chat.head and not panel.is_busy")
    assert likely.evaluate("list(chat.turns[-1].tokens[-3:])") == wanted
    expect(one.locator(".mullama-likely-before")).not_to_have_text(before)
    expect(one.get_by_role("treeitem")).to_have_count(14)
    expect(two.locator(".mullama-likely-before")).to_have_text(
        one.locator(".mullama-likely-before").inner_text()
    )


def test_arrows_and_enter_go_on_from_there(likely: Notebook) -> None:
    area = likely.area(1)
    items = area.get_by_role("treeitem")
    items.first.focus()
    for key, label in (("ArrowRight", 1), ("ArrowDown", 4), ("ArrowLeft", 0), ("End", 7)):
        likely.page.keyboard.press(key)
        expect(items.nth(label)).to_be_focused()
    expect(area.locator(".mullama-likely-said")).to_contain_text("from the start")
    head = likely.evaluate("chat.head.id")
    wanted = likely.evaluate("panel._layout.grown[7].continuation.token")
    likely.page.keyboard.press("Enter")
    likely.wait_until(f"chat.head.id != {head!r} and not panel.is_busy")
    assert likely.evaluate("chat.head.tokens[-1]") == wanted
    expect(items.first).to_be_focused()  # so that one may go on and on


def test_follows_a_chat_that_rests_and_leaves_one_that_answers(notebook: Opener) -> None:
    asked = "threading.Thread(target=chat.ask, args=('More.',), kwargs=options).start()"
    options = "import threading\noptions = dict(max_tokens=15000, on_token=slowly, echo=False)"
    opened = notebook(SLOW, "chat.ask('Hi', max_tokens=3)", PANEL, options, asked)
    opened.run(0, 1, 2, 3)
    area = opened.area(2)
    expect(area.get_by_role("treeitem")).to_have_count(14)
    opened.evaluate("chat.regenerate(max_tokens=2) and None")
    opened.wait_until("panel.found.checkpoint is chat.head")
    opened.run(4)
    expect(area.get_by_role("status")).to_have_text("The chat is answering.")
    opened.wait_until("n_said > 60")  # longer than a moment of quiet
    assert opened.evaluate("panel.found.checkpoint is not chat.head and not panel.is_busy")
    opened.evaluate("chat.stop()")
    opened.wait_until("panel.found.checkpoint is chat.head")
    expect(area.get_by_role("status")).to_contain_text("evaluated")

    area.get_by_role("button", name="Look again when").click()
    expect(area.get_by_role("button", name="Look again when")).to_have_attribute(
        "aria-pressed", "false"
    )
    opened.evaluate("chat.undo() and None")
    expect(area.get_by_role("status")).to_have_text("The chat has moved on.")
    area.get_by_role("button", name="Look", exact=True).click()
    opened.wait_until("panel.found.checkpoint is chat.head")
    expect(area.get_by_role("status")).to_contain_text("evaluated")


def test_reaches_as_far_as_asked_and_shows_what_goes_wrong(likely: Notebook) -> None:
    area = likely.area(1)
    area.get_by_label("Width").fill("3")
    area.get_by_label("Width").press("Enter")
    expect(area.get_by_role("treeitem")).to_have_count(39)
    expect(likely.area(2).get_by_label("Width")).to_have_value("3")
    area.get_by_label("Min p").fill("99.5")
    area.get_by_label("Min p").press("Enter")
    expect(area).to_contain_text("No token has a probability of 99.5 % or more.")

    likely.evaluate(
        "[chat.ask('Ho', max_tokens=8, echo=False) for _ in range(99)"
        " if chat.context.token_count() < 970] and None"
    )
    area.get_by_label("Depth").fill("64")
    area.get_by_label("Depth").press("Enter")
    expect(area.get_by_role("alert")).to_be_visible()
    expect(area.get_by_role("treeitem")).to_have_count(0)


@pytest.mark.parametrize("kernel", ["python3", "ipykernel-7.3"])
def test_a_look_can_be_stopped(notebook: Opener, kernel: str) -> None:
    opened = notebook(CHAT, PANEL, kernel=kernel)
    opened.run()
    area = opened.area(1)
    expect(area.get_by_role("treeitem")).to_have_count(14)
    area.get_by_label("Width").fill("6")
    area.get_by_label("Depth").fill("12")
    area.get_by_label("Depth").press("Enter")
    opened.wait_until("panel.is_busy and panel._reach.depth == 12")
    area.get_by_label("Stop looking ahead").click()
    opened.wait_until("not panel.is_busy")
    expect(area.get_by_role("alert")).to_contain_text("stopped")
    expect(area.get_by_label("Stop looking ahead")).to_be_hidden()
    area.get_by_label("Depth").fill("1")
    area.get_by_role("button", name="Look", exact=True).click()
    expect(area.get_by_role("treeitem")).to_have_count(6)
    expect(area.get_by_role("alert")).to_be_hidden()


def test_hostile_tokens_are_signs(likely: Notebook) -> None:
    likely.run(3)
    items = likely.area(1).get_by_role("treeitem")
    expect(items).to_have_count(8)
    texts = items.locator("bdi").all_inner_texts()
    assert texts[:5] == ["<img␣src=x␣onerror='win…", "⟨202E⟩evil", "↵↵", "␀␛[31m", "של"]
    assert texts[5][0] == "◌"
    assert texts[6].startswith("␣␣␣")
    assert texts[7] == "∅"
    heights = items.evaluate_all("all => all.map((each) => each.getBoundingClientRect().height)")
    assert len(set(heights)) == 1
    assert likely.page.evaluate("() => window.hurt ?? null") is None
    assert likely.area(1).locator(".mullama img").count() == 0


def test_can_be_read_in_both_themes_and_in_a_narrow_cell(likely: Notebook) -> None:
    area = likely.area(1).locator(".mullama")
    check_reading(likely.page, area)
    for width in (1280, 520):
        likely.page.set_viewport_size({"width": width, "height": 900})
        expect(area.get_by_role("treeitem").first).to_be_in_viewport()
