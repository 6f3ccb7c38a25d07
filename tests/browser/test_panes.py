"""The panes of a chat's view, and what each state of it offers."""

from __future__ import annotations

from collections import Counter

import pytest
from browser.lab import Opener
from browser.test_chat_panel import IN_THREAD
from browser.test_composer import CHAT
from browser.test_stop import CHAT as SLOW
from playwright.sync_api import Locator, expect

SEVERAL = "chat.explore('Which?', 2, max_tokens=3) and None"
CONTROLS = """area => [...area.querySelectorAll('button, input, select, textarea')]
  .filter((each) => each.checkVisibility() && !each.closest('[popover]'))
  .map((each) => {
    const around = each.closest('article, [role=treeitem], .mullama-answer');
    const name = each.getAttribute('aria-label') || each.textContent || each.placeholder;
    return [around?.dataset.id || around?.ariaLabel || '', name];
  })"""

# What is in the box after a press on Send as soon as it is there, and after one somewhat later.
PRESS_AS_IT_ENDS = """area => {
  const button = area.querySelector('.mullama-write button');
  const box = area.querySelector('.mullama-write textarea');
  const observer = new MutationObserver(() => {
    if (button.textContent !== 'Send') return;
    observer.disconnect();
    button.click();
    window.drafts = [box.value];
    const now = performance.now.bind(performance);
    performance.now = () => now() + 600;
    button.click();
    window.drafts.push(box.value);
  });
  observer.observe(button, { childList: true });
}"""


def drag(node: Locator, right: float, down: float) -> None:
    """Move a handle by so many pixels."""
    node.scroll_into_view_if_needed()
    box = node.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse = node.page.mouse
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + right / 2, y + down / 2)
    mouse.move(x + right, y + down)
    mouse.up()


def size(node: Locator, side: str = "width") -> float:
    box = node.bounding_box()
    assert box is not None
    return float(box[side])  # type: ignore[literal-required]


def test_panes_are_moved_folded_and_left_so(notebook: Opener) -> None:
    opened = notebook(CHAT, "chat", "Chat(chat.model, n_ctx=64, n_threads=1)")
    opened.run(0, 1)
    page, area = opened.page, opened.area(1)
    between = area.get_by_role("separator", name="Width of the tree")
    below = area.get_by_role("separator", name="Height")
    panes, tree = area.locator(".mullama-panes"), area.locator(".mullama-timeline-part")
    panel, fold = area.locator(".mullama-panel-part"), area.get_by_role("button", name="Tree")
    expect(tree).to_be_visible()
    expect(between).to_have_attribute("aria-orientation", "vertical")
    assert size(tree) == pytest.approx(0.38 * size(panes), abs=2)

    # By pointer and by keys; what is moved stays so where the cell is run again, and below others.
    wide, high = size(tree), size(panes, "height")
    drag(between, -90, 0)
    assert size(tree) == pytest.approx(wide + 90, abs=8)
    between.press("ArrowLeft")
    share = int(between.get_attribute("aria-valuenow") or "")
    drag(below, 0, 80)
    assert size(panes, "height") == pytest.approx(high + 80, abs=8)
    wide, high = size(tree), size(panes, "height")
    opened.run(1, 2)
    for index in (1, 2):
        shown = opened.area(index)
        expect(shown.get_by_role("separator", name="Width of the tree")).to_have_attribute(
            "aria-valuenow", str(share)
        )
        assert size(shown.locator(".mullama-timeline-part")) == pytest.approx(wide, abs=1)
        assert size(shown.locator(".mullama-panes"), "height") == pytest.approx(high, abs=1)

    # Folded, the panel has all of the room.
    between.focus()
    page.keyboard.press("Enter")
    expect(tree).to_be_hidden()
    expect(between).to_be_hidden()
    expect(fold).to_have_attribute("aria-expanded", "false")
    assert size(panel) == pytest.approx(size(panes), abs=1)
    assert area.evaluate("area => area.contains(document.activeElement)")
    opened.run(1)
    expect(fold).to_have_attribute("aria-expanded", "false")
    expect(tree).to_be_hidden()
    fold.click()
    expect(tree).to_be_visible()
    assert size(tree) == pytest.approx(wide, abs=1)

    # In a narrow page one is below the other, and the line between them lies.
    page.set_viewport_size({"width": 520, "height": 900})
    expect(between).to_have_attribute("aria-orientation", "horizontal")
    low = size(tree, "height")
    drag(between, 0, -40)
    assert size(tree, "height") == pytest.approx(low + 40, abs=8)
    for each in (panes, panel, tree):
        assert each.evaluate("node => node.scrollWidth <= node.clientWidth")

    # What is told and what is asked stays in its pane.
    box = area.get_by_label("Message", exact=True)
    box.fill("word " * 60)
    box.press("Enter")
    told = area.get_by_role("alert").locator(".mullama-notice")
    expect(told.get_by_role("button", name="New chat")).to_be_visible()
    assert told.evaluate("node => node.scrollWidth <= node.clientWidth")
    area.get_by_role("treeitem").nth(1).focus()
    page.keyboard.press("c")
    compared = area.get_by_role("dialog", name="Comparison with the head")
    expect(compared.get_by_role("button", name="Close")).to_be_focused()
    assert compared.evaluate("node => node.scrollTop") == 0
    around, inside = tree.bounding_box(), compared.bounding_box()
    assert around is not None
    assert inside is not None
    assert inside["x"] + inside["width"] <= around["x"] + around["width"] + 1
    assert inside["y"] + inside["height"] <= around["y"] + around["height"] + 1


def check(area: Locator) -> None:
    """Check that each control is there once, by place and name, and nothing of the template."""
    found = Counter((place, name) for place, name in area.evaluate(CONTROLS))
    assert [each for each, n in found.items() if n > 1] == []
    expect(area).not_to_contain_text("<|im_")


def test_each_state_has_each_control_once_and_no_template_text(notebook: Opener) -> None:
    opened = notebook(SLOW, "chat", IN_THREAD)
    opened.run(0, 1)
    area = opened.area(1)
    box = area.get_by_label("Message", exact=True)
    expect(area.get_by_text("Say something to begin.")).to_be_visible()
    check(area)
    opened.evaluate(SEVERAL)
    expect(area.locator(".mullama-log .mullama-answer")).to_have_count(2)
    check(area)
    opened.evaluate("chat.tree.checkout(chat.head.followers[0]) and None")
    expect(area.locator("article")).to_have_count(2)
    check(area)
    box.fill("word " * 20000)  # more than there is room for
    box.press("Enter")
    expect(area.get_by_role("alert")).to_contain_text("n_ctx")
    check(area)
    area.locator("article").first.get_by_label("Edit this message").click()
    expect(area.get_by_text("Ask again")).to_be_visible()
    area.locator("article").last.get_by_label("Show how likely each token was").click()
    expect(area.get_by_role("group", name="Tokens")).to_be_visible()
    check(area)

    # While an answer comes one button is Stop. It becomes Send by itself, and a press that was
    # meant for Stop sends nothing, though there is a draft.
    opened.evaluate("setattr(chat, 'limits', chat.limits.with_changes(max_tokens=3))")
    opened.run(2)
    box.fill("Half a thought")
    area.get_by_role("button", name="Stop").focus()
    check(area)
    area.evaluate(PRESS_AS_IT_ENDS)
    opened.evaluate("chat.stop()")
    page = opened.page
    page.wait_for_function("() => window.drafts?.length === 2")
    assert page.evaluate("() => window.drafts") == ["Half a thought", ""]
    opened.wait_until("chat.turns[-2].text == 'Half a thought' and not asking.is_alive()")
