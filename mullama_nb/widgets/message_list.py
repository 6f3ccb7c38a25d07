"""The messages up to the head as the panel shows them, and what changes of them."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from ..engine.adapters.values import in_words
from ..history.chat import Chat
from ..history.message import message_versions
from ..history.shown import ShownMessage
from ..history.turn import Turn
from .footer import options_in_words
from .live_answer import count_thought
from .markdown import render_markdown

__all__ = ["MessageList"]


class MessageList:
    """The messages of a chat, as views were told of them."""

    def __init__(self) -> None:
        self._content: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._told: list[dict[str, Any]] | None = None

    @property
    def is_told(self) -> bool:
        """Whether a view has them already, and is told of what changes."""
        return self._told is not None

    def snapshot(self, chat: Chat) -> list[dict[str, Any]]:
        """Return the messages up to the head.

        Parameters
        ----------
        chat : Chat
        """
        messages = self._messages(chat)
        if self._told is None:  # what the first view begins with
            self._told = messages
        return messages

    def changes(self, chat: Chat) -> dict[str, Any]:
        """Return messages that are new behind the one called ``after``, and fields of those before.

        Parameters
        ----------
        chat : Chat
        """
        before, now = self._told or [], self._messages(chat)
        self._told = now
        pairs = list(zip(before, now, strict=False))
        n = next((i for i, (a, b) in enumerate(pairs) if a["id"] != b["id"]), len(pairs))
        changed = [
            {"id": b["id"], **{name: value for name, value in b.items() if value != a[name]}}
            for a, b in pairs[:n]
            if a != b
        ]
        return {"after": now[n - 1]["id"] if n else None, "messages": now[n:], "changed": changed}

    def _messages(self, chat: Chat) -> list[dict[str, Any]]:
        turns, known = chat.turns, self._content
        self._content = {}
        messages = []
        for turn in turns:
            message = turn.message
            before, content = known.get(turn.id, ({}, {}))
            if before != message:
                content = _described(turn, message)
            self._content[turn.id] = message, content
            messages.append({"id": turn.id, **content, "notes": _notes(turn), **_places(turn)})
        return messages


def _described(turn: Turn, message: Mapping[str, Any]) -> dict[str, Any]:
    """What a message says."""
    shown = ShownMessage.of(message)
    is_result = shown.role == "tool"
    return {
        "role": shown.role,
        "name": shown.name,
        "html": _preformatted(shown.result) if is_result else render_markdown(shown.text),
        "text": shown.text,
        "thought": render_markdown(shown.reasoning.strip()),
        "n_thought": count_thought(turn),
        "calls": [[call.name, call.arguments] for call in shown.calls],
        "tokens": bool(turn.logprobs),
    }


def _preformatted(text: str) -> str:
    return f"<pre><code>{html.escape(text)}</code></pre>"


def _notes(turn: Turn) -> list[str]:
    """How a message was said, as far as that is unusual, in words."""
    notes = turn.checkpoint.metadata
    again = notes.evaluated_again if turn.index is None else {}
    n, why = again.get("tokens"), again.get("why")  # they may come from a file
    told = [f"{n:,} token{'s' * (n != 1)} evaluated again: {why}"] if isinstance(n, int) else []
    if turn.index is None and notes.decoded_elsewhere:
        told.append(f"decoded elsewhere: {notes.elsewhere_in_words}")
    on = [in_words(note) for note in notes.adapters]
    return [*on, *options_in_words(notes.chat_template_kwargs), *told]


def _places(turn: Turn) -> dict[str, Any]:
    """Where a message stands among those in its place, and whether it could go on."""
    checkpoint, is_own = turn.checkpoint, turn.index is None
    ends = message_versions(checkpoint) if is_own else [checkpoint]
    at = ends.index(checkpoint)
    return {
        "unfinished": is_own and checkpoint.is_unfinished,
        "place": at + 1,
        "count": len(ends),
        "before": ends[at - 1].id if at else None,
        "after": ends[at + 1].id if at + 1 < len(ends) else None,
    }
