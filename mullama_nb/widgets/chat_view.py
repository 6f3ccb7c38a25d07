"""The view of a chat as a cell's output: panel, timeline, undo and redo."""

from __future__ import annotations

import weakref
from typing import Any

import ipywidgets

from ..history.chat import Chat
from .chat_panel import ChatPanel
from .pages import HeldWeakly
from .timeline import Timeline
from .undo_redo import UndoRedo

__all__ = ["chat_view", "view_bundle"]

_VIEW = "application/vnd.jupyter.widget-view+json"


class _View(HeldWeakly, ipywidgets.Box):  # type: ignore[misc]
    """The whole of it."""


class _Side(HeldWeakly, ipywidgets.VBox):  # type: ignore[misc]
    """What stands beside the panel."""


# The view of each chat; a chat that is gone takes its entry along.
_views: weakref.WeakKeyDictionary[Chat, weakref.ref[ipywidgets.Box]] = weakref.WeakKeyDictionary()


def chat_view(chat: Chat) -> ipywidgets.Box:
    """Return a view with panel and timeline, side by side where there is room.

    A chat has one view, however often it is shown, until that is closed.

    Parameters
    ----------
    chat : Chat
    """
    known = _views.get(chat)
    view = None if known is None else known()
    if view is None or view.comm is None:
        view = _make_view(chat)
        _views[chat] = weakref.ref(view)
    return view


def view_bundle(chat: Chat) -> dict[str, Any]:
    """Return the part of a display bundle that a notebook with a kernel shows."""
    view = chat_view(chat)
    view.children[0].showing.display(view)  # the box has no script that could speak for it
    model_id = view.model_id
    return {_VIEW: {"version_major": 2, "version_minor": 0, "model_id": model_id}}


def _make_view(chat: Chat) -> ipywidgets.Box:
    side = _Side([UndoRedo(chat), Timeline(chat)])
    view = _View([ChatPanel(chat), side])
    for name in ("mullama", "mullama-view"):  # the panel's style sheet says how it is laid out
        view.add_class(name)
    return view
