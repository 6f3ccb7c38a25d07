"""The display of a chat as a cell's output."""

from __future__ import annotations

import html
import importlib
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["chat_bundle", "chat_html"]

_VIEW = "mullama_nb.widgets.chat_view"


def chat_bundle(chat: object, said: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return text and HTML of a chat, and in a notebook's kernel an interactive view.

    Parameters
    ----------
    chat : Chat
        Passed to the view.
    said : sequence of (str, str)
        The messages up to its head: role and text.
    """
    bundle: dict[str, Any] = {"text/plain": repr(chat), "text/html": chat_html(said)}
    if _in_kernel():
        try:
            # By name, and only now: a chat needs no widgets where nobody can click.
            renderer = importlib.import_module(_VIEW)
        except ModuleNotFoundError:
            return bundle
        bundle |= renderer.view_bundle(chat)
    return bundle


def chat_html(said: Sequence[tuple[str, str]]) -> str:
    """Return messages as HTML for readers without a kernel."""
    if not said:
        return "<p><em>Nothing has been said yet.</em></p>"
    return "".join(
        f"<p><strong>{html.escape(role)}</strong></p>"
        f'<p style="white-space:pre-wrap">{html.escape(text)}</p>'
        for role, text in said
    )


def _in_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")
