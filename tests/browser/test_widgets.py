"""The widgets in JupyterLab: what a click does in the kernel, and what the screen then shows."""

from __future__ import annotations

import re

import pytest
from browser.lab import Notebook, Opener
from playwright.sync_api import expect

CHAT = """
from mullama_nb import Chat
from mullama_nb.widgets.chat_panel import ChatPanel
from mullama_nb.widgets.timeline import Timeline
from mullama_nb.widgets.undo_redo import UndoRedo

chat = Chat.from_messages("tiny.gguf", [
    {"role": "user", "content": "What is a tide?"},
    {"role": "assistant", "content": "The sea follows the moon."},
    {"role": "user", "content": "And a wave?"},
    {"role": "assistant", "content": "<script>window.hurt = 1</script></svg><b>bold</b>"
     " [link](javascript:window.hurt=1) <img src=x onerror='window.hurt=1'>"},
], n_ctx=1024, n_threads=1, seed=1)
"""
HEAD = "[aria-selected=true]"


@pytest.fixture
def timeline(notebook: Opener) -> Notebook:
    opened = notebook(CHAT, "Timeline(chat)", "Timeline(chat)")
    opened.run()
    return opened


def test_clicking_a_checkpoint_moves_head_and_screen(timeline: Notebook) -> None:
    wanted = timeline.evaluate("chat.tree['HEAD~2'].id")
    row = timeline.area(1).locator(f"[role=treeitem][data-id='{wanted}']")
    expect(row).to_have_attribute("aria-selected", "false")

    row.click()
    expect(row).to_have_attribute("aria-selected", "true")
    assert timeline.evaluate("chat.head.id") == wanted
    other = timeline.area(2).locator(f"[role=treeitem]{HEAD}")
    expect(other).to_have_attribute("data-id", wanted)  # views stay in step


def test_keys_move_undo_and_redo(timeline: Notebook) -> None:
    rows = timeline.area(1).locator("[role=treeitem]")
    leaf = timeline.evaluate("chat.head.id")
    timeline.area(1).locator(f"[role=treeitem]{HEAD}").focus()

    timeline.page.keyboard.press("u")
    expect(rows.and_(timeline.page.locator(HEAD))).not_to_have_attribute("data-id", leaf)
    assert timeline.evaluate("chat.head.id") != leaf

    timeline.area(1).locator(f"[role=treeitem]{HEAD}").focus()
    timeline.page.keyboard.press("r")
    expect(rows.and_(timeline.page.locator(HEAD))).to_have_attribute("data-id", leaf)
    assert timeline.evaluate("chat.head.id") == leaf


def test_undo_button_takes_back_a_turn(notebook: Opener) -> None:
    opened = notebook(CHAT, "UndoRedo(chat)")
    opened.run()
    undo = opened.area(1).get_by_role("button", name=re.compile("Undo|Take back", re.IGNORECASE))
    redo = opened.area(1).get_by_role("button", name=re.compile("Redo|again", re.IGNORECASE))
    expect(redo.first).to_be_disabled()

    undo.first.click()
    expect(redo.first).to_be_enabled()
    assert opened.evaluate("(chat.undo_steps, chat.redo_steps)") == (1, 1)


def test_a_hostile_answer_stays_text(notebook: Opener) -> None:
    opened = notebook(CHAT, "ChatPanel(chat)", "Timeline(chat)")
    opened.run()
    expect(opened.area(1).locator(".mullama-log")).to_contain_text("<script>")
    expect(opened.area(2).locator("[role=tree]")).to_contain_text("<script>")
    assert opened.page.evaluate("() => window.hurt ?? null") is None
    assert opened.area(1).locator("script, img, b, a[href^=javascript]").count() == 0


@pytest.mark.parametrize("kernel", ["python3", "ipykernel-7.3"])
def test_a_sent_message_is_answered_while_the_kernel_goes_on(notebook: Opener, kernel: str) -> None:
    opened = notebook(CHAT, "panel = ChatPanel(chat); panel", kernel=kernel)
    opened.run()
    opened.area(1).get_by_label("Message", exact=True).fill("Tell me everything.")
    opened.area(1).get_by_role("button", name="Send").click()
    opened.wait_until("panel.is_busy")  # answered while the panel generates
    opened.area(1).get_by_role("button", name="Stop").click()
    opened.wait_until("not panel.is_busy")
    assert opened.evaluate("chat.messages[-2]['content']") == "Tell me everything."
    assert opened.evaluate("chat.head.metadata['finish_reason']") == "stopped"
