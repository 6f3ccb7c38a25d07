"""The plot of KV memory in JupyterLab follows the tree."""

from __future__ import annotations

from browser.lab import Opener
from browser.test_widgets import CHAT
from playwright.sync_api import expect


def test_bars_follow_the_active_path(notebook: Opener) -> None:
    opened = notebook(CHAT, "KVPlot(chat)", "KVPlot(chat)")
    opened.run()
    area = opened.area(1)
    bars = area.get_by_role("option")
    expect(bars).to_have_count(4)
    tokens = opened.evaluate("chat.context.token_count()")
    expect(area.locator(".cells")).to_have_text(f"{tokens} of 1,024 tokens")

    bars.last.focus()
    opened.page.keyboard.press("ArrowLeft")
    expect(bars.nth(2)).to_be_focused()
    expect(area.locator(".said")).to_contain_text("And a wave?")

    opened.page.keyboard.press("Enter")  # which goes there
    opened.wait_until("chat.head.metadata['role'] == 'user'")
    expect(bars).to_have_count(3)
    expect(area.locator("svg text.name")).to_have_text(["Q1", "A1", "Q2"])
    area.get_by_role("option", name="A1").click()
    opened.wait_until("len(chat.turns) == 2")
    for index in (1, 2):
        expect(opened.area(index).get_by_role("option")).to_have_count(2)
    opened.evaluate("chat.ask('And fog?', max_tokens=2) and None")
    expect(bars).to_have_count(4)
    expect(area.locator(".said")).not_to_contain_text("wave")


def test_what_streams_is_drawn_before_it_is_kept(notebook: Opener) -> None:
    opened = notebook(CHAT, "KVPlot(chat)")
    opened.run()
    cells, tokens = opened.area(1).locator(".cells"), opened.evaluate("chat.context.token_count()")
    expect(cells).to_have_text(f"{tokens} of 1,024 tokens")
    opened.evaluate(
        "[chat.tree._workspace.notify(TokenAdded(1, 'x', -1.0)) for _ in range(5)] and None"
    )
    expect(cells).to_have_text(f"{tokens + 5} of 1,024 tokens")
    expect(opened.area(1).locator("rect.live").first).to_be_visible()
