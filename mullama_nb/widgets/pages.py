"""The pages that show a widget, and how long they keep it alive.

ipywidgets keeps every widget forever, and with it a chat and its cells. Here a widget lives, as any
object does, while something refers to it: a variable, ``Out``, another widget, or a page. A page
holds the widgets it shows: from the moment a widget is displayed until every known page has
reported that it no longer shows it. Pages report the first view, the removal of the last one, and
their own closing; widgets of a closed page stay, as the user may come back.

A page that has released a widget is asked again after the next cell: its report may have crossed a
display that it had not seen, and a cut cell may have been pasted by then.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import ipywidgets
import traitlets
from ipywidgets.widgets import widget as registry

from ..engine.resting import count_as_history, rest_unused

__all__ = ["HeldWeakly", "Showing", "follow_pages"]

_MOST_UNSEEN = 16
_SECONDS_UNTIL_LEFT = 0.5


class HeldWeakly(ipywidgets.Widget):  # type: ignore[misc]
    """A widget that ipywidgets knows without keeping it alive."""

    @traitlets.observe("comm")
    def _comm_changed(self, change: Any) -> None:
        if change["new"] is None:
            return
        self._model_id = self.model_id
        method = weakref.WeakMethod(self._handle_msg)

        def receive(message: Any) -> None:
            handle = method()
            if handle is not None:
                handle(message)

        self.comm.on_msg(receive)
        registry._instances[self.model_id] = weakref.proxy(self)

    def __del__(self, is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not is_ending():  # else there is no page to tell, and modules are gone
            self.close()


class Shown(Protocol):
    """A widget that pages show and let go."""

    @property
    def comm(self) -> Any:
        """The channel to the page, None once the widget was closed."""

    @property
    def model_id(self) -> str:
        """The widget's id, the same in the kernel and in the page."""

    def listen(self, listens: bool, /) -> None:
        """Hear of changes from now on, or no more."""


@dataclass(eq=False)
class Showing:
    """The pages that show one widget.

    Attributes
    ----------
    widget : weak reference to Shown
    pages : set of str
        The pages that reported a view last.
    is_left : bool
        Whether every page has released it.
    is_asked : bool
        Whether they were asked since then, without another display.
    """

    widget: Callable[[], Shown | None]
    pages: set[str] = field(default_factory=set)
    is_left: bool = False
    is_asked: bool = False

    def display(self) -> None:
        """Hold the widget until pages release it."""
        widget = self.widget()
        if widget is not None and widget.comm is not None and not _is_held_by_comm(widget.comm):
            self.is_left = self.is_asked = False
            _held[widget.model_id] = widget
            follow_pages()

    def hear(self, page: str, n_views: int) -> None:
        """Handle a page's report on its views."""
        if n_views:
            self.pages.add(page)
            self.display()
            return
        self.pages.discard(page)
        if not self.pages:
            if self.is_asked:
                self.release()
            self.is_left = True
            self.wait()

    def leave(self, page: str) -> None:
        """Handle the closing of a page; a user who comes back finds the widget."""
        self.pages.discard(page)
        if not self.pages:
            self.wait()
            # Later, as the caller holds the widget.
            timer = threading.Timer(_SECONDS_UNTIL_LEFT, rest_unused)
            timer.daemon = True
            timer.start()

    def wait(self) -> None:
        """Count the widget as unseen; only the latest unseen ones listen."""
        _unseen.append(self)
        while len(_unseen) > _MOST_UNSEEN:
            first = _unseen.popleft()
            widget = first.widget()
            if widget is not None and not first.pages and first not in _unseen:
                widget.listen(False)

    def release(self) -> None:
        """Hold the widget no longer."""
        widget = self.widget()
        if widget is not None and widget.comm is not None:
            _held.pop(widget.model_id, None)


_held: dict[str, Shown] = {}
_unseen: deque[Showing] = deque()
_shells: weakref.WeakSet[Any] = weakref.WeakSet()


def _references() -> Iterator[object]:
    """References held by pages, and by ipywidgets and its comms to widgets shown in a box."""
    yield from list(_held.values())
    for widget in list(registry._instances.values()):
        if type(widget) is not weakref.ProxyType and isinstance(widget, ipywidgets.Box):
            yield widget
            yield widget.comm


count_as_history(_references)


def _is_held_by_comm(comm: object) -> bool:
    """Whether it is marimo's, which holds its widget until the cell that made that runs again."""
    return type(comm).__module__.startswith("marimo.")


def follow_pages() -> None:
    """Ask pages after each cell; outside IPython do nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None and shell not in _shells:
        _shells.add(shell)
        shell.events.register("post_run_cell", _ask_pages)


def _ask_pages(_result: object = None) -> None:
    for widget in list(_held.values()):
        showing: Showing = widget.showing  # type: ignore[attr-defined]
        if showing.is_left and not showing.is_asked:
            showing.is_asked = True
            widget.send({"kind": "shown"})  # type: ignore[attr-defined]
