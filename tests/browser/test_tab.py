"""Tab and Shift-Tab in a cell: the options of a chat are offered and shown by name."""

from __future__ import annotations

import pytest
from browser.lab import Opener
from playwright.sync_api import expect

CHAT = 'from mullama_nb import Chat\nchat = Chat("tiny.gguf", n_ctx=512, n_threads=1)'


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ('chat.ask("What is a tide?", ', ["max_tokens=", "temperature="]),
        ("chat.regenerate(", ["max_tokens=", "temperature="]),
        ('Chat("tiny.gguf", ', ["n_ctx=", "temperature="]),
        ("chat.context.generate(", ["max_tokens=", "temperature="]),
    ],
)
def test_tab_offers_options(notebook: Opener, code: str, options: list[str]) -> None:
    opened = notebook(CHAT, code)
    opened.run(0)
    opened.page.locator(".jp-Notebook .jp-Cell .cm-content").nth(1).click()
    opened.page.keyboard.press("Control+End")
    opened.page.keyboard.press("Tab")
    offered = opened.page.locator(".jp-Completer-item")
    for option in options:
        expect(offered.filter(has_text=option).first).to_be_attached()


def test_shift_tab_shows_options(notebook: Opener) -> None:
    opened = notebook(CHAT, "chat.ask(")
    opened.run(0)
    opened.page.locator(".jp-Notebook .jp-Cell .cm-content").nth(1).click()
    opened.page.keyboard.press("Control+End")
    opened.page.keyboard.press("Shift+Tab")
    shown = opened.page.locator(".jp-Tooltip")
    expect(shown).to_contain_text("max_tokens: 'int | None' = <unchanged>")
    expect(shown).to_contain_text("temperature: 'float' = <unchanged>")
