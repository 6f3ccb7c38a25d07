"""Pages and kernels that one test leaves to the next: to load and to start them takes the longest.

Each test begins with a notebook of its own, in a page that looks as when it was loaded, on a kernel
that knows no names, has no widgets and does nothing. What a failed test has used is thrown away,
and so is what does not come to that state.
"""

from __future__ import annotations

import json
import urllib.request
from contextlib import suppress
from typing import Any
from urllib.error import HTTPError

from browser.lab import HEIGHT, PATIENCE, WIDTH, LabServer, Notebook
from browser.themes import THEMES, use_theme
from playwright.sync_api import BrowserContext, Page
from playwright.sync_api import Error as PageError

__all__ = ["KernelShelf", "PageShelf", "ask"]

_SECONDS_TO_REST = 10
_USES = 30  # until a page is replaced: JupyterLab keeps something of each notebook

# A chat that answers on a thread is told to stop. Names and outputs go, and with them the chats.
_FORGET = """
import gc, sys
from IPython import get_ipython
if "mullama_nb" in sys.modules:
    from mullama_nb import Chat
    for each in gc.get_objects():
        if isinstance(each, Chat):
            each.stop()
if "ipywidgets" in sys.modules:
    from ipywidgets import Widget
    Widget.close_all()
get_ipython().reset()
gc.collect()
"""
_IS_IDLE = """() => {
  const kernel = window.jupyterapp?.shell?.currentWidget?.context?.sessionContext?.session?.kernel;
  return !kernel || kernel.status === 'idle';
}"""
# Whether nothing is left in the page outside of its notebook.
_LOOKS_NEW = """() => {
  for (const name of ['ended', 'answer', 'hurt']) delete window[name];
  const isAside = (node) => !node.closest('.jp-NotebookPanel');
  return !!window.jupyterapp?.shell && !document.querySelector('.jp-Dialog, .lm-Menu')
    && ![...document.querySelectorAll('.mullama')].some(isAside);
}"""


def ask(server: LabServer, method: str, path: str, content: object = None) -> Any:
    """What a server's REST API answers, if anything."""
    request = urllib.request.Request(
        f"{server.address}/api/{path}",
        method=method,
        data=None if content is None else json.dumps(content).encode(),
        headers={"Authorization": f"token {server.token}"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.loads(answer.read() or "null")


class KernelShelf:
    """The kernels of a server that nobody uses now, at most one of each kind."""

    def __init__(self, server: LabServer) -> None:
        self._server = server
        self._sessions: dict[str, str] = {}

    def lend(self, kind: str, name: str) -> None:
        """Let a notebook that is opened next have a kernel, if there is one."""
        if session := self._sessions.pop(kind, None):
            new = {"path": name, "name": name, "type": "notebook"}
            with suppress(HTTPError):  # it has died
                ask(self._server, "PATCH", f"sessions/{session}", new)

    def put_back(self, notebook: Notebook, *, is_well: bool) -> None:
        """Take the kernel of a notebook that is done with it, or end it."""
        sessions = ask(self._server, "GET", "sessions")
        for session in (each for each in sessions if each["path"] == notebook.name):
            kind = session["kernel"]["name"]
            if is_well and kind not in self._sessions and self._has_forgotten(notebook):
                self._sessions[kind] = session["id"]
            else:
                self._end(notebook)

    def _end(self, notebook: Notebook) -> None:
        with suppress(PageError):
            notebook.shut_down()
        for session in ask(self._server, "GET", "sessions"):
            if session["path"] == notebook.name:
                ask(self._server, "DELETE", f"sessions/{session['id']}")

    def _has_forgotten(self, notebook: Notebook) -> bool:
        try:
            notebook.page.wait_for_function(_IS_IDLE, timeout=1000 * _SECONDS_TO_REST)
            notebook.evaluate(f"exec({_FORGET!r}, {{}})")
        except (PageError, AssertionError):
            return False
        return True


class PageShelf:
    """The page of a browser that nobody uses now."""

    def __init__(self, browser: BrowserContext) -> None:
        self._browser = browser
        self._page: Page | None = None
        self._n_uses = 0
        self._others = browser.pages  # without any, the browser would end

    def lend(self) -> Page:
        """A page, which may show a notebook of an earlier test."""
        page, self._page = self._page, None
        self._n_uses += 1
        if page is not None and self._n_uses % _USES == 0:
            page.close()
            page = None
        if page is None:
            return self.lend_new()
        self._note_others(page)
        return page

    def lend_new(self) -> Page:
        """A page that has shown nothing; the one that waits is kept."""
        page = self._browser.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        self._note_others(page)
        return page

    def _note_others(self, page: Page) -> None:
        self._others = [other for other in self._browser.pages if other is not page]

    def put_back(self, page: Page, *, is_well: bool) -> None:
        """Take a page, or close it; those that were opened beside it since are closed."""
        if self._page is None and is_well and self._is_as_new(page):
            self._page = page
        else:
            page.close()
        for other in self._browser.pages:
            if other is not self._page and other not in self._others:
                other.close()

    def _is_as_new(self, page: Page) -> bool:
        as_always: dict[str, Any] = dict.fromkeys(
            ("color_scheme", "forced_colors", "media", "reduced_motion"), "null"
        )
        try:
            if "/lab/" not in page.url or not page.evaluate(_LOOKS_NEW):
                return False
            page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
            page.emulate_media(**as_always)
            page.mouse.move(0, 0)
            if not page.locator("body[data-jp-theme-light=true]").count():
                use_theme(page, THEMES[0])
        except PageError:
            return False
        return True
