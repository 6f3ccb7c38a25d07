"""The view of a chat: panel, timeline, undo and redo as one widget."""

from __future__ import annotations

import weakref
from typing import Any

import anywidget

from ..errors import ParameterError
from ..history.chat import Chat
from .actions import stops_first
from .base import ActingWidget
from .chat_panel import ChatPanel
from .esm import front_end
from .timeline import Timeline
from .undo_redo import UndoRedo

__all__ = ["ChatView", "chat_view", "view_bundle"]


class ChatView(ActingWidget):
    """Panel and timeline of a chat, side by side where there is room, with undo and redo.

    It is what a chat shows as the last line of a cell.

    Parameters
    ----------
    chat : Chat

    Attributes
    ----------
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
        parts = {"panel": ChatPanel(chat), "steps": UndoRedo(chat), "timeline": Timeline(chat)}
        super().__init__(parts["panel"], **parts)

    @property
    def chat(self) -> Chat:
        """The chat that is shown; a larger one may have taken the place of the first."""
        chat: Chat = self.panel.chat
        return chat

    def queue_of(self, action: str) -> object:  # noqa: ARG002 - all are the tree's
        """Return the tree."""
        return self.chat.tree

    @property
    def children(self) -> tuple[ActingWidget, ...]:
        """The parts."""
        return self.panel, self.steps, self.timeline

    @stops_first
    def do_undo(self) -> None:
        """Move the head to before the last message."""
        self.chat.undo()

    def do_redo(self) -> None:
        """Take the last undo back."""
        self.chat.redo()

    def stop_generation(self) -> None:
        """Stop the answer that the chat is generating."""
        self.chat.stop()

    def draw_html(self) -> str:
        """Return the messages, and the tree as SVG."""
        return "".join(part.draw_html() for part in (self.panel, self.timeline))

    def __repr__(self) -> str:
        n = len(self.chat.turns)
        return f"ChatView({n} message{'s' * (n != 1)})"


_views: weakref.WeakSet[ChatView] = weakref.WeakSet()


def chat_view(chat: Chat) -> ChatView:
    """Return the view of a chat: one, however often it is shown, until that is closed.

    Parameters
    ----------
    chat : Chat
    """
    for known in [*_views]:
        if known.chat is chat and known.comm is not None:
            return known
    view = ChatView(chat)
    _views.add(view)
    return view


def view_bundle(chat: Chat) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the part of a display bundle that a notebook with a kernel shows, and its metadata."""
    return chat_view(chat).as_view()
