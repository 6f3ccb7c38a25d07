"""The view of a chat: panel, timeline, undo and redo as one widget."""

from __future__ import annotations

import weakref
from typing import Any

import anywidget

from ..errors import ParameterError
from ..history.chat import Chat
from .base import ActingWidget
from .chat_panel import ChatPanel
from .esm import front_end
from .timeline import Timeline
from .undo_redo import UndoRedo

__all__ = ["ChatView", "chat_view", "view_bundle"]

_VIEW = "application/vnd.jupyter.widget-view+json"


class ChatView(ActingWidget):
    """Panel and timeline of a chat, side by side where there is room, with undo and redo.

    It is what a chat shows as the last line of a cell.

    Parameters
    ----------
    chat : Chat

    Attributes
    ----------
    chat : Chat
    panel : ChatPanel
    steps : UndoRedo
    timeline : Timeline
    """

    _esm, _css = front_end("chat_view")

    # Each has a state and a channel of its own, and is shown where chat_view.js has its name.
    panel = anywidget.WidgetTrait().tag(sync=True)
    steps = anywidget.WidgetTrait().tag(sync=True)
    timeline = anywidget.WidgetTrait().tag(sync=True)

    def __init__(self, chat: Chat) -> None:
        if not isinstance(chat, Chat):
            raise ParameterError(
                f"ChatView shows a Chat, not a {type(chat).__name__}. Pass the chat."
            )
        self.chat = chat
        parts = {"panel": ChatPanel(chat), "steps": UndoRedo(chat), "timeline": Timeline(chat)}
        super().__init__(chat.tree, **parts)

    @property
    def children(self) -> tuple[ActingWidget, ...]:
        """The parts."""
        return self.panel, self.steps, self.timeline

    def draw_html(self) -> str:
        """Return the messages, and the tree as SVG."""
        return "".join(part.draw_html() for part in (self.panel, self.timeline))

    def __repr__(self) -> str:
        n = len(self.chat.turns)
        return f"ChatView({n} message{'s' * (n != 1)})"


# The view of each chat; a chat that is gone takes its entry along.
_views: weakref.WeakKeyDictionary[Chat, weakref.ref[ChatView]] = weakref.WeakKeyDictionary()


def chat_view(chat: Chat) -> ChatView:
    """Return the view of a chat: one, however often it is shown, until that is closed.

    Parameters
    ----------
    chat : Chat
    """
    known = _views.get(chat)
    view = None if known is None else known()
    if view is None or view.comm is None:
        view = ChatView(chat)
        _views[chat] = weakref.ref(view)
    return view


def view_bundle(chat: Chat) -> dict[str, Any]:
    """Return the part of a display bundle that a notebook with a kernel shows."""
    view = chat_view(chat)
    view.showing.display()
    model_id = view.model_id
    return {_VIEW: {"version_major": 2, "version_minor": 0, "model_id": model_id}}
