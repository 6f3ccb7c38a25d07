"""The timeline in JupyterLab: keys, menu, folding, the card, and a row that grows."""

from __future__ import annotations

import pytest
from browser.lab import Notebook, Opener
from browser.test_widgets import CHAT, HEAD
from playwright.sync_api import Locator, expect

BRANCHES = """
chat.tag("waves")
chat.checkout("HEAD~2")
chat.ask("And a storm?", max_tokens=3)
chat.ask("And rain?", max_tokens=3)
chat.checkout("waves")
"""


@pytest.fixture
def timeline(notebook: Opener) -> Notebook:
    opened = notebook(CHAT + BRANCHES, "Timeline(chat)", "Timeline(chat)")
    opened.run()
    return opened


def rows(timeline: Notebook, area: int = 1) -> Locator:
    return timeline.area(area).locator("[role=treeitem]")


def head(timeline: Notebook, area: int = 1) -> Locator:
    return timeline.area(area).locator(f"[role=treeitem]{HEAD}")


def row(timeline: Notebook, identifier: str, area: int = 1) -> Locator:
    return timeline.area(area).locator(f"[role=treeitem][data-id='{identifier}']")


def test_arrow_keys_move_and_enter_checks_out(timeline: Notebook) -> None:
    leaf, above = timeline.evaluate("(chat.head.id, chat.head.parent.id)")
    press = timeline.page.keyboard.press
    head(timeline).focus()
    press("ArrowUp")
    expect(row(timeline, above)).to_be_focused()
    assert timeline.evaluate("chat.head.id") == leaf  # looking moves nothing
    press("Enter")
    expect(row(timeline, above)).to_have_attribute("aria-selected", "true")
    assert timeline.evaluate("chat.head.id") == above
    press("Home")
    press("End")
    expect(row(timeline, leaf)).to_be_focused()


def test_a_branch_folds_to_one_row(timeline: Notebook) -> None:
    storm = timeline.evaluate("chat.tree['HEAD~2'].children[1].id")
    n = timeline.evaluate(f"sum(chat.tree[{storm!r}].is_ancestor_of(c) for c in chat.tree) - 1")
    before = rows(timeline).count()
    row(timeline, storm).focus()
    timeline.page.keyboard.press("ArrowLeft")
    expect(row(timeline, storm)).to_have_attribute("aria-expanded", "false")
    expect(row(timeline, storm)).to_contain_text(f"+{n}")
    expect(rows(timeline)).to_have_count(before - n)
    expect(rows(timeline, 2)).to_have_count(before)  # another reader's view

    timeline.page.keyboard.press("ArrowRight")
    expect(rows(timeline)).to_have_count(before)
    timeline.area(1).get_by_role("button", name="Active path").click()
    expect(rows(timeline)).to_have_count(before - n)

    timeline.evaluate("[chat.checkout(c) for c in chat.tree.leaves() if c is not chat.head][:0]")
    expect(head(timeline)).to_be_visible()  # where the head goes, nothing hides it
    expect(rows(timeline)).to_have_count(before)


def test_the_menu_tags_by_button_and_by_key(timeline: Notebook) -> None:
    area, above = timeline.area(1), timeline.evaluate("chat.head.parent.id")
    row(timeline, above).hover()
    row(timeline, above).get_by_role("button", name="Menu").click()
    menu = area.get_by_role("menu")
    expect(menu.get_by_role("menuitem").first).to_be_focused()
    timeline.page.keyboard.press("ArrowDown")
    expect(menu.get_by_role("menuitem", name="Fork here")).to_be_focused()
    timeline.page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(row(timeline, above)).to_be_focused()

    timeline.page.keyboard.press("m")
    area.get_by_role("menuitem", name="Tag…").click()
    area.get_by_role("textbox", name="Name of the checkpoint").fill("asked")
    timeline.page.keyboard.press("Enter")
    expect(row(timeline, above, 2)).to_contain_text("asked")
    assert timeline.evaluate("chat.tree.tags['asked'].id") == above

    head(timeline).focus()
    timeline.page.keyboard.press("m")  # that of the head lacks an item, and says no more
    expect(menu).to_have_text("Go hereFork hereTag…Copy textPrune…Close")


def test_pruning_says_what_would_be_lost(timeline: Notebook) -> None:
    area, question = timeline.area(1), timeline.evaluate("chat.head.parent.id")
    row(timeline, question).focus()
    timeline.page.keyboard.press("m")
    area.get_by_role("menuitem", name="Prune…").click()
    asked = area.get_by_role("alertdialog")
    expect(asked).to_contain_text("2 checkpoints")
    expect(asked).to_contain_text("waves")
    expect(asked).to_contain_text("the head")
    asked.get_by_role("button", name="Cancel").click()
    assert timeline.evaluate(f"{question!r} in chat.tree")

    timeline.page.keyboard.press("m")
    area.get_by_role("menuitem", name="Prune…").click()
    area.get_by_role("alertdialog").get_by_role("button", name="Prune").click()
    expect(row(timeline, question)).to_have_count(0)
    expect(row(timeline, question, 2)).to_have_count(0)
    assert timeline.evaluate(f"{question!r} in chat.tree") is False


def test_a_checkpoint_is_compared_with_the_head(timeline: Notebook) -> None:
    storm = timeline.evaluate("chat.tree['HEAD~2'].children[1].id")
    row(timeline, storm).focus()
    timeline.page.keyboard.press("m")
    timeline.area(1).get_by_role("menuitem", name="Compare with head").click()
    shown = timeline.area(1).get_by_role("dialog")
    expect(shown).to_contain_text("storm?")
    expect(shown).to_contain_text("wave?")
    assert timeline.area(1).locator(".mullama-sheet b, .mullama-sheet script").count() == 0


def test_the_card_shows_all_of_a_text(timeline: Notebook) -> None:
    timeline.evaluate("chat.ask('word ' * 60, max_tokens=1) and None")
    asked, size = timeline.evaluate("(chat.head.parent.id, len(chat.head.parent.tokens))")
    row(timeline, asked).hover()
    card = timeline.area(1).get_by_role("tooltip")
    expect(card).to_contain_text("word " * 59)
    expect(card).to_contain_text(f"{size} tokens")
    timeline.page.mouse.move(0, 0)
    expect(card).to_be_hidden()


def test_a_row_grows_while_tokens_come_and_others_stay(timeline: Notebook) -> None:
    before = rows(timeline).count()
    rows(timeline).first.evaluate("node => { node.kept = true }")
    timeline.evaluate(
        "[chat.tree._workspace.notify(TokenAdded(1, piece, -1.0))"
        " for piece in ('<b>The ', 'tide')] and None"
    )
    growing = timeline.area(1).locator("[data-id=live]")
    expect(growing).to_contain_text("<b>The tide")
    expect(rows(timeline)).to_have_count(before + 1)
    assert rows(timeline).first.evaluate("node => node.kept") is True
    assert growing.locator("b").count() == 0

    timeline.evaluate("chat.ask('And fog?', max_tokens=2) and None")
    expect(growing).to_have_count(0)
    expect(rows(timeline)).to_have_count(before + 2)


def test_search_finds_words_and_tags(timeline: Notebook) -> None:
    box = timeline.area(1).get_by_role("searchbox")
    box.fill("and a")
    expect(timeline.area(1).locator(".mullama-hits")).to_have_text("1/2")
    box.fill("waves")
    expect(timeline.area(1).locator(".mullama-hits")).to_have_text("1/1")
    box.fill("nowhere")
    expect(timeline.area(1).locator(".mullama-hits")).to_have_text("none")
