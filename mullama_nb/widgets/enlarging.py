"""A chat in a larger context, which takes the place of another where that is shown and named."""

from __future__ import annotations

import sys

from ..history.chat import Chat
from .base import widgets_on

__all__ = ["enlarge"]


def enlarge(chat: Chat, n_ctx: int) -> str:
    """Show a new chat with the same tree and more cells in place of one; return that in words.

    Widgets that show the chat's messages or tree show the new chat's from then on, and variables of
    the notebook that name the chat name the new one.

    Parameters
    ----------
    chat : Chat
    n_ctx : int
    """
    larger = chat.with_n_ctx(n_ctx)
    for widget in widgets_on(chat.tree):
        if widget.can_turn:
            widget.turn_to(larger)
    names = _rename(chat, larger)
    told = f" In cells it is called {' and '.join(names)} now." if names else ""
    return f"This is a new chat with {n_ctx:,} cells, and the same tree.{told}"


def _rename(chat: Chat, larger: Chat) -> list[str]:
    """Have the notebook's variables that name a chat name another one."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return []
    found = [name for name, value in [*shell.user_ns.items()] if value is chat]
    names = [name for name in found if not name.startswith("_")]  # not what cells have put out
    shell.user_ns.update(dict.fromkeys(names, larger))
    return names
