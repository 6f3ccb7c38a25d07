"""What a chat shows as the last line of a cell: panel, timeline, undo and redo."""

from __future__ import annotations

from typing import Any

import ipywidgets

from ..history.chat import Chat
from .chat_panel import ChatPanel
from .timeline import Timeline
from .undo_redo import UndoRedo

__all__ = ["chat_view", "view_bundle"]

_VIEW = "application/vnd.jupyter.widget-view+json"


def chat_view(chat: Chat) -> ipywidgets.Box:
    """Panel and timeline side by side where there is room, else one below the other.

    Parameters
    ----------
    chat : Chat
    """
    panel, timeline, steps = ChatPanel(chat), Timeline(chat), UndoRedo(chat)
    side = ipywidgets.VBox(
        [steps, timeline], layout={"flex": "1 1 24rem", "min_width": "0", "width": "auto"}
    )
    panel.layout = {"flex": "1 1 24rem", "min_width": "0", "width": "auto"}
    layout = {"display": "flex", "flex_flow": "row wrap", "width": "100%"}
    return ipywidgets.Box([panel, side], layout=layout)


def view_bundle(chat: Chat) -> dict[str, Any]:
    """The part of a display bundle that a notebook with a kernel shows."""
    model_id = chat_view(chat).model_id
    return {_VIEW: {"version_major": 2, "version_minor": 0, "model_id": model_id}}
