"""Messages that a reader replaces, or that the model has to answer."""

from __future__ import annotations

from typing import Any

from ..history.asking import question_at
from ..history.chat import Chat
from ..history.turn import Turn
from .answer_cards import answers_to

__all__ = ["standing_on", "with_text"]


def standing_on(chat: Chat) -> dict[str, Any] | None:
    """Return the message at the head that the model has to answer; None elsewhere.

    Parameters
    ----------
    chat : Chat
    """
    head = chat.head
    if question_at(head) is not head:
        return None
    return {"id": head.id, "answers": len(answers_to(chat, head))}


def with_text(turn: Turn, text: str) -> dict[str, Any]:
    """Return an answer with another text: its thought and its calls are as they were.

    Parameters
    ----------
    turn : Turn
    text : str
        If it ends a thought, it has one of its own.
    """
    message = {key: value for key, value in turn.message.items() if value}
    closes = turn.chat.answer_format.closes
    if closes and closes in text:
        message.pop("reasoning_content", None)
    return {**message, "content": text}
