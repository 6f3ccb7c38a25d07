"""Messages as callers give them: a text, a message or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ParameterError
from .notes import Message, check_notes

__all__ = ["as_messages", "checked_messages"]


def as_messages(message: str | Message | Sequence[Message]) -> list[dict[str, Any]]:
    """Return a caller's argument as messages: a text is the user's."""
    if isinstance(message, str):
        message = {"role": "user", "content": message}
    messages = checked_messages([message] if isinstance(message, Mapping) else message)
    if not messages:
        raise ParameterError("there is no message in it: say a text, a message or several")
    return messages


def checked_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return copies of messages.

    Raises
    ------
    ParameterError
        When they are not messages, or not representable in JSON.
    """
    is_list = isinstance(messages, Sequence) and not isinstance(messages, (str, bytes, bytearray))
    if not is_list or not all(isinstance(message, Mapping) for message in messages):
        raise ParameterError(
            'messages are a list such as [{"role": "user", "content": "Hello"}], '
            f"not {messages!r:.80}"
        )
    copies = [dict(message) for message in messages]
    for index, copy in enumerate(copies):
        check_notes(copy, f"message {index}" if len(copies) > 1 else "the message")
    return copies
