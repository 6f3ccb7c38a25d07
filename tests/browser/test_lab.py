"""What the other browser tests rely on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from playwright.sync_api import BrowserContext

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
