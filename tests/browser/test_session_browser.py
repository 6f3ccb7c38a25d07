"""Saved sessions in JupyterLab: save, load, delete after a question, and why one does not fit."""

from __future__ import annotations

from browser.lab import Opener
from browser.test_widgets import CHAT
from playwright.sync_api import Locator, expect

BROWSER = """
from mullama_nb import ContextParams, SessionManager
from mullama_nb.widgets import SessionBrowser
other = ContextParams(n_ctx=512, n_threads=1, kv_cache_type="bf16")
SessionManager(chat.model, "saved", other).create_session("packed (old)", "A clerk by the sea.")
sessions = SessionBrowser("saved", chat)
sessions
"""


def entry(area: Locator, name: str) -> Locator:
    return area.get_by_role("listitem").filter(has_text=name)


def test_sessions_are_saved_loaded_and_deleted(notebook: Opener) -> None:
    opened = notebook(CHAT, BROWSER)
    opened.run()
    area = opened.area(1)
    packed = entry(area, "packed (old)")
    expect(packed).to_contain_text("bf16")
    expect(packed.get_by_role("button", name="Load")).to_be_disabled()
    expect(packed.locator(".why")).to_contain_text("bf16")

    name = area.get_by_role("textbox", name="Name to save the chat under")
    name.fill("tides")
    name.press("Enter")
    saved = entry(area, "tides")
    expect(saved).to_be_visible()
    saved.get_by_role("button", name="Load").click()
    opened.wait_until("sessions.loaded is not None")
    assert opened.evaluate("sessions.loaded.messages == chat.messages")

    saved.get_by_role("button", name="Delete").click()
    expect(saved.get_by_role("button", name="Keep tides")).to_be_focused()
    assert opened.evaluate("len(Chat.open('tides', folder='saved').messages)") == 4
    saved.get_by_role("button", name="Delete for good: tides").click()
    expect(saved).to_have_count(0)
    expect(packed).to_be_visible()
