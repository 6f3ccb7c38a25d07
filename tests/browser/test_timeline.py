"""The timeline in JupyterLab: keys, menu, folding, the card, and a row that grows."""

from __future__ import annotations

import pytest
from browser.lab import Notebook, Opener
from browser.test_widgets import CHAT, HEAD
from browser.themes import THEMES, least_stroke, use_theme
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
    press("End")
    expect(rows(timeline).last).to_be_focused()
    press("Home")
    expect(rows(timeline).first).to_be_focused()


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


def test_the_menu_is_at_the_pointer_and_says_what_it_is_about(timeline: Notebook) -> None:
    area, above, leaf = timeline.area(1), *timeline.evaluate("(chat.head.parent.id, chat.head.id)")
    menu = area.locator(".mullama-menu")
    row(timeline, above).hover()
    row(timeline, above).get_by_role("button", name="Menu").click()
    expect(menu).to_contain_text("YouAnd a wave?")
    expect(menu.get_by_role("menuitem").first).to_be_focused()
    timeline.page.keyboard.press("ArrowDown")
    expect(menu.get_by_role("menuitem", name="Fork here")).to_be_focused()
    timeline.page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(row(timeline, above)).to_be_focused()
    assert timeline.evaluate("chat.head.id") == leaf  # a click on the dots goes nowhere

    row(timeline, above).click(button="right", position={"x": 140, "y": 12})
    box, place = row(timeline, above).bounding_box(), menu.bounding_box()
    assert box is not None
    assert place is not None
    assert abs(place["x"] - box["x"] - 140) < 2
    assert timeline.page.locator(".lm-Menu, .jp-ContextMenu").count() == 0
    timeline.page.mouse.click(5, 5)
    expect(menu).to_be_hidden()

    head(timeline).focus()
    timeline.page.keyboard.press("m")
    compare = menu.get_by_role("menuitem", name="Compare with head")
    expect(compare).to_have_attribute("aria-disabled", "true")
    expect(compare).to_have_attribute("title", "The head is here.")
    timeline.page.keyboard.press("c")  # nor by its key
    expect(menu).to_be_visible()
    expect(area.get_by_role("dialog")).to_have_count(0)

    timeline.page.keyboard.press("t")  # the keys are the same in the menu and without
    area.get_by_role("textbox", name="Name of the checkpoint").fill("asked")
    timeline.page.keyboard.press("Enter")
    expect(row(timeline, leaf, 2)).to_contain_text("asked")
    assert timeline.evaluate("chat.tree.tags['asked'].id") == leaf
    row(timeline, above).focus()
    timeline.page.keyboard.press("t")
    expect(area.get_by_role("textbox", name="Name of the checkpoint")).to_be_focused()


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

    timeline.page.keyboard.press("Delete")
    area.get_by_role("alertdialog").get_by_role("button", name="Prune").click()
    expect(row(timeline, question)).to_have_count(0)
    expect(row(timeline, question, 2)).to_have_count(0)
    assert timeline.evaluate(f"{question!r} in chat.tree") is False


def test_a_checkpoint_is_compared_with_the_head(timeline: Notebook) -> None:
    storm = timeline.evaluate("chat.tree['HEAD~2'].children[1].id")
    row(timeline, storm).focus()
    timeline.page.keyboard.press("c")
    shown = timeline.area(1).get_by_role("dialog")
    expect(shown).to_contain_text("storm?")
    expect(shown).to_contain_text("wave?")
    expect(shown.locator(".who").first).to_have_text("You")
    heads = shown.locator(".mullama-side-head")
    for at, token in enumerate(("storm", "wave")):
        expect(heads.nth(at).locator("code")).to_contain_text(token[0])
        expect(heads.nth(at)).to_contain_text("%")
    expect(shown).not_to_contain_text("<|im_")
    assert timeline.area(1).locator(".mullama-sheet b, .mullama-sheet script").count() == 0


def test_the_card_is_beside_the_list_where_a_text_is_cut(timeline: Notebook) -> None:
    timeline.evaluate("chat.ask('word ' * 60, max_tokens=1) and None")
    asked, size = timeline.evaluate("(chat.head.parent.id, len(chat.head.parent.tokens))")
    card = timeline.area(1).locator(".mullama-card")
    row(timeline, asked).hover()
    expect(card).to_contain_text("word " * 59)
    expect(card).to_contain_text(f"{size} tokens")
    area, place = timeline.area(1).locator(".mullama-body").bounding_box(), card.bounding_box()
    assert area is not None
    assert place is not None
    assert place["y"] >= area["y"] + area["height"] or place["y"] + place["height"] <= area["y"]
    assert place["x"] >= 0
    timeline.page.mouse.move(0, 0)
    expect(card).to_be_hidden()

    head(timeline).focus()  # all of its text is there
    timeline.page.keyboard.press("Space")
    expect(card).to_be_visible()
    timeline.page.keyboard.press("Space")
    expect(card).to_be_hidden()


def test_the_card_of_a_key_comes_whatever_else_moves(timeline: Notebook) -> None:
    timeline.evaluate("[chat.ask(f'Sea {n}?', max_tokens=1) for n in range(12)] and None")
    card = timeline.area(1).locator(".mullama-card")
    begins = """async list => {
      const frame = () => new Promise(requestAnimationFrame);
      while (list.scrollHeight < 1.5 * list.clientHeight) await frame();
      list.scrollTop = list.scrollHeight;
      for (let n = 0; n < 3; n++) await frame();
      const moved = list.scrollTop;
      const row = list.querySelector("[role=treeitem]");
      row.focus();  // which scrolls; that is told of later
      row.dispatchEvent(new KeyboardEvent("keydown", { key: " ", bubbles: true }));
      return moved !== list.scrollTop;
    }"""
    assert timeline.area(1).locator(".mullama-rows").evaluate(begins)
    expect(card).to_be_visible()
    asked = rows(timeline).locator(":scope:focus")
    asked.hover()
    timeline.page.mouse.move(0, 0)
    expect(card).to_be_visible()
    timeline.area(1).locator(".mullama-rows").evaluate("list => { list.scrollTop += 20 }")
    expect(card).to_be_hidden()  # it would be beside another row


def test_a_row_grows_while_tokens_come_and_others_stay(timeline: Notebook) -> None:
    before = rows(timeline).count()
    rows(timeline).first.evaluate("node => { node.kept = true }")
    timeline.evaluate(
        "[chat.tree._workspace.notify(TokenAdded(1, piece, -1.0))"
        " for piece in ('<b>The ', 'tide')] and None"
    )
    growing = timeline.area(1).locator("[data-id=live]")
    expect(growing).to_contain_text("<b>The tide")
    expect(rows(timeline)).to_have_count(before)  # the head's answer goes on, in its row
    assert rows(timeline).first.evaluate("node => node.kept") is True
    assert growing.locator("b").count() == 0

    timeline.evaluate("chat.ask('And fog?', max_tokens=2) and None")
    expect(growing).to_have_count(0)
    expect(rows(timeline)).to_have_count(before + 2)


def test_search_marks_what_it_finds_and_dims_the_rest(timeline: Notebook) -> None:
    area = timeline.area(1)
    box, hits, dim = area.get_by_role("searchbox"), area.locator(".hit"), area.locator(".dim")
    n = rows(timeline).count()
    for words, found, said in (("and a", 2, "1/2"), ("waves", 1, "1/1"), ("nowhere", 0, "none")):
        box.fill(words)
        expect(area.locator(".mullama-hits")).to_have_text(said)
        expect(hits).to_have_count(found)
        expect(dim).to_have_count(n - found)
    box.fill("")
    expect(area.locator(".hit, .dim")).to_have_count(0)


def test_signs_are_explained_and_lines_are_seen_in_both_themes(timeline: Notebook) -> None:
    legend, area = timeline.area(1).locator(".mullama-legend"), timeline.area(1)
    expect(legend).to_contain_text("unfinished")
    expect(legend).not_to_contain_text("spilled")
    place = timeline.evaluate("chat.tree['HEAD~2'].children[1].id")
    timeline.evaluate(f"chat.tree.spill({place!r}) and None")
    expect(legend).to_contain_text("spilled")
    expect(row(timeline, place).locator("rect.dot")).to_be_visible()

    answer = timeline.evaluate("chat.head.id")
    before = rows(timeline).count()
    timeline.evaluate("chat.fork(chat.turns[-1], token=1, choose=7, max_tokens=2) and None")
    expect(rows(timeline)).to_have_count(before + 1)  # a row for each answer, none for a segment
    expect(head(timeline).locator(".fork title")).to_have_text("forked at token 1")
    expect(row(timeline, answer).locator(".fork")).to_have_count(0)
    expect(legend).to_contain_text("forked")
    expect(rows(timeline).first).to_contain_text("root")
    for theme in THEMES:
        use_theme(timeline.page, theme)
        for kind in ("path", ".dot"):
            assert least_stroke(area, f".mullama-rows {kind}:not(.active):not(.head)") >= 3, theme
