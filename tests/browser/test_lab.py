"""What the other browser tests rely on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from browser.lab import HEIGHT, WIDTH, LabServer, Notebook
from browser.reuse import KernelShelf, PageShelf, ask
from browser.test_widgets import CHAT
from browser.themes import THEMES, use_theme
from playwright.sync_api import BrowserContext, Page, expect

_ASK = "url => fetch(url, { mode: 'no-cors' }).then(() => 'answered', () => 'refused')"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """Where a server of this machine answers."""
    with HTTPServer(("127.0.0.1", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_all_but_this_machine_is_refused_and_noted(
    browser: BrowserContext, outside: list[str], port: int
) -> None:
    page = browser.new_page()
    inside = f"http://127.0.0.1:{port}/"
    assert page.evaluate(_ASK, inside) == "answered"
    assert outside == []
    # By its other name the same server stands for a machine elsewhere.
    others = [f"http://localhost:{port}/a?b", "https://example.org/", "http://192.0.2.1/"]
    assert [page.evaluate(_ASK, url) for url in others] == ["refused"] * 3
    page.close()
    assert outside == others
    outside.clear()


def identity(opened: Notebook) -> tuple[int, object]:
    """The kernel's process, and what was written on the page."""
    return opened.evaluate("__import__('os').getpid()"), opened.page.evaluate("() => window.mine")


def test_the_next_test_finds_page_and_kernel_as_new(
    page: Page, lab: LabServer, browser: BrowserContext
) -> None:
    kernels, pages, cells = KernelShelf(lab), PageShelf(browser), (CHAT, "chat", "count")
    opened = Notebook.write(page, lab, cells, name="reused-1.ipynb")
    page.evaluate("() => { window.mine = 1; window.hurt = 1; }")
    opened.evaluate("exec('count = 7')")
    opened.run()
    page.set_viewport_size({"width": 500, "height": 500})
    use_theme(page, THEMES[1])
    first = identity(opened)
    kernels.put_back(opened, is_well=True)
    pages.put_back(page, is_well=True)

    assert pages.lend() is page
    kernels.lend("python3", name := "reused-2.ipynb")
    again = Notebook.write(page, lab, ["names = dir(); 'chat' in names"], name=name)
    again.run()
    assert identity(again) == first
    assert again.outputs(0)[0]["data"]["text/plain"] == "False"
    assert again.evaluate("(len(Out), 'count' in globals())") == (1, False)
    assert again.evaluate("len(__import__('ipywidgets').widgets.widget._instances)") == 0
    assert page.evaluate("() => window.hurt ?? null") is None
    assert page.viewport_size == {"width": WIDTH, "height": HEIGHT}
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "true")
    expect(page.locator(".mullama")).to_have_count(0)

    # What a failed test has used is not lent again.
    kernels.put_back(again, is_well=False)
    assert [each["path"] for each in ask(lab, "GET", "sessions") if each["path"] == name] == []
    pages.put_back(page, is_well=False)
    assert pages.lend() is not page
