"""Messages on a path: their checkpoints, their text, and their versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ..errors import ParameterError
from .node import Node
from .notes import Noted, Notes

__all__ = [
    "message_ends",
    "message_ends_back",
    "message_parts",
    "message_text",
    "message_versions",
    "messages_on",
    "token_place",
]

N = TypeVar("N", bound=Node)
M = TypeVar("M", bound=Noted)


def message_parts(end: N) -> list[N]:
    """Return the checkpoints of one message, in order: several if it was resumed or forked."""
    parts = [end]
    while parts[-1].metadata.continues and parts[-1].parent is not None:
        parts.append(parts[-1].parent)
    return parts[::-1]


def message_text(end: Node) -> str:
    """Return a message's text, without the template around it.

    That of a generated one knows its control tokens, so that a template can render them again.
    """
    message = end.metadata.message
    if message is not None:
        content = message.get("content")
        return content if isinstance(content, str) else ""
    tokens = tuple(token for part in message_parts(end) for token in part.tokens)
    text = end._contents.spoken_by(tokens)  # of all parts at once: one may end in a character
    return text[: len(text) - end.metadata.hidden]


def message_versions(end: N) -> list[N]:
    """Return the ends of a message and its other versions, in the order of the tree.

    Parameters
    ----------
    end : Node
        Where the message ends; one of them.
    """
    first = message_parts(end)[0]
    role = end.metadata.role
    begins = [node for node in first.siblings if node is first or node.metadata.role == role]
    found, stack = [], begins[::-1]
    while stack:
        at = stack.pop()
        following = [child for child in at.children if child.metadata.continues]
        if at is end or not following:
            found.append(at)
        stack += following[::-1]
    return found


def message_ends_back(node: N) -> Iterator[N]:
    """Yield lazily the checkpoints up to one where messages end, latest first."""
    following: Notes | None = None
    for at in node.lineage():
        if not at.is_root and at.metadata.ends_message(following):
            yield at
        following = at.metadata


def message_ends(path: Sequence[M]) -> Iterator[M]:
    """Yield the checkpoints of a path, live or saved, where messages end."""
    following: Notes | None = None
    ends = []
    for noted in reversed(path):
        notes = Notes.of(noted.metadata)
        if notes.ends_message(following):
            ends.append(noted)
        following = notes
    return reversed(ends)


def messages_on(
    path: Sequence[M], text_of: Callable[[M], str], system: str | None
) -> list[dict[str, Any]]:
    """Return the messages on a path, in the form that chat templates take.

    Parameters
    ----------
    path : sequence of Node or Entry
    text_of : callable
        Returns the text of the message that ends there, if the notes do not have it.
    system : str or None
        The system message, if the path has none.
    """
    messages: list[dict[str, Any]] = []
    for end in message_ends(path):
        notes = Notes.of(end.metadata)
        if notes.history is not None:  # the template rewrote what was before, or turns were dropped
            messages = [dict(message) for message in notes.history]
        elif notes.message is not None:
            messages.append(dict(notes.message))
        else:
            messages.append({"role": notes.role, "content": text_of(end)})
    if system is not None and not any(m["role"] == "system" for m in messages[:1]):
        messages.insert(0, {"role": "system", "content": system})
    return messages


def token_place(end: N, token: int) -> tuple[N, int]:
    """Return the checkpoint of a message's token, and its index in there.

    Parameters
    ----------
    end : Node
        Where the message ends.
    token : int
        Index of a token in the message; -1 is the last.
    """
    parts = message_parts(end)
    n = sum(len(part.tokens) for part in parts)
    index = token + n if token < 0 else token
    if not 0 <= index < n:
        raise ParameterError(f"token={token} is not in the message, which has {n} tokens")
    for part in parts:
        if index < len(part.tokens):
            return part, index
        index -= len(part.tokens)
    raise AssertionError("unreachable")
