"""What a chat shows as the last line of a cell."""

from __future__ import annotations

import html
import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chat import Chat

__all__ = ["chat_bundle", "chat_html"]

_VIEW = "mullama_nb.widgets.chat_view"


def chat_bundle(chat: Chat) -> dict[str, Any]:
    """Text and HTML of a chat, and in a notebook's kernel a view to work with.

    Parameters
    ----------
    chat : Chat
    """
    bundle: dict[str, Any] = {"text/plain": repr(chat), "text/html": chat_html(chat)}
    if _in_kernel():
        try:
            # By name, and only now: a chat needs no widgets where nobody can click.
            renderer = importlib.import_module(_VIEW)
        except ModuleNotFoundError:
            return bundle
        bundle |= renderer.view_bundle(chat)
    return bundle


def chat_html(chat: Chat) -> str:
    """The messages up to the head, as text that a reader without a kernel sees."""
    if not chat.turns:
        return "<p><em>Nothing has been said yet.</em></p>"
    return "".join(
        f"<p><strong>{html.escape(turn.role)}</strong></p>"
        f'<p style="white-space:pre-wrap">{html.escape(turn.text)}</p>'
        for turn in chat.turns
    )


def _in_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")
