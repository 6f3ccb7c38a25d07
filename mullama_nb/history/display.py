"""The display of a chat as a cell's output."""

from __future__ import annotations

import html
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from .shown import ShownMessage

__all__ = [
    "Bundle",
    "answers_bundle",
    "chat_bundle",
    "chat_html",
    "message_html",
    "messages_html",
    "new_view",
]

Bundle: TypeAlias = tuple[dict[str, Any], dict[str, Any]]
"""What a cell shows, by MIME type, and metadata of these."""

_VIEW = "mullama_nb.widgets.chat_view"
_CARDS = "mullama_nb.widgets.explorer"
_AS_TYPED = ' style="white-space:pre-wrap"'


def chat_bundle(
    chat: object, messages: Sequence[Mapping[str, Any]], settings: Sequence[str] = ()
) -> Bundle:
    """Return text and HTML of a chat, and in a notebook's kernel an interactive view.

    Parameters
    ----------
    chat : Chat
        Passed to the view.
    messages : sequence of mapping
        Those up to its head.
    settings : sequence of str
        What is on, in words: adapters.
    """
    on = "".join(f"<p><em>{html.escape(each)}</em></p>" for each in settings)
    return _with_view(_VIEW, chat, chat_html(messages) + on)


def answers_bundle(answers: object, table: str) -> Bundle:
    """Return text and HTML of an exploration's answers, and in a notebook's kernel their cards.

    Parameters
    ----------
    answers : Answers
        Passed to the view.
    table : str
        HTML for readers without a kernel.
    """
    return _with_view(_CARDS, answers, table)


def _with_view(module: str, shown: object, text: str) -> Bundle:
    """Text and HTML, and what a notebook with a kernel shows, where there is the extra for it."""
    bundle: dict[str, Any] = {"text/plain": repr(shown), "text/html": text}
    if not _in_kernel():
        return bundle, {}
    try:
        # By name, and only now: nothing needs widgets where nobody can click.
        renderer = importlib.import_module(module)
    except ModuleNotFoundError:
        return bundle, {}
    view, metadata = renderer.view_bundle(shown)
    return bundle | view, metadata


def new_view(chat: object) -> object:
    """Return a widget that shows a chat.

    Parameters
    ----------
    chat : Chat
    """
    return importlib.import_module(_VIEW).ChatView(chat)


def chat_html(messages: Iterable[Mapping[str, Any]]) -> str:
    """Return messages as HTML for readers without a kernel; all of their texts are escaped."""
    return messages_html(messages, _as_typed)


def messages_html(messages: Iterable[Mapping[str, Any]], render: Callable[[str], str]) -> str:
    """Return messages as HTML, each under its role.

    Parameters
    ----------
    messages : iterable of mapping
    render : callable
        As for ``message_html``.
    """
    shown = [ShownMessage.of(message) for message in messages]
    if not shown:
        return "<p><em>Nothing has been said yet.</em></p>"
    return "".join(f"{_speaker(each)}{message_html(each, render)}" for each in shown)


def message_html(message: ShownMessage, render: Callable[[str], str]) -> str:
    """Return what a message says as HTML: a thought is folded, calls and results preformatted.

    Parameters
    ----------
    message : ShownMessage
    render : callable
        Returns the HTML of a text, which is not trusted.
    """
    parts = []
    if message.reasoning:
        thought = html.escape(message.reasoning.strip())
        parts.append(f"<details><summary>Thought</summary><p{_AS_TYPED}>{thought}</p></details>")
    if message.role == "tool":
        parts.append(_preformatted(message.result))
    elif message.has_text:
        parts.append(render(message.text))
    parts += [_preformatted(call.text) for call in message.calls]
    return "".join(parts)


def _speaker(message: ShownMessage) -> str:
    name = f" <code>{html.escape(message.name)}</code>" if message.name else ""
    return f"<p><strong>{html.escape(message.role)}</strong>{name}</p>"


def _as_typed(text: str) -> str:
    return f"<p{_AS_TYPED}>{html.escape(text)}</p>"


def _preformatted(text: str) -> str:
    return f"<pre{_AS_TYPED}>{html.escape(text)}</pre>"


def _in_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")
