"""Messages on a path: which checkpoints form one, what it says, and what stands in its place."""

from __future__ import annotations

import codecs
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
    "text_of_bytes",
    "token_place",
]

N = TypeVar("N", bound=Node)
M = TypeVar("M", bound=Noted)


def message_parts(end: N) -> list[N]:
    """Return the checkpoints of one message, in order: several where it was resumed or forked."""
    parts = [end]
    while parts[-1].metadata.continues and parts[-1].parent is not None:
        parts.append(parts[-1].parent)
    return parts[::-1]


def message_text(end: Node) -> str:
    """Return what a message says, without the template around it."""
    message = end.metadata.message
    if message is not None:
        content = message.get("content")
        return content if isinstance(content, str) else ""
    text = text_of_bytes(b"".join(part.spoken for part in message_parts(end)))
    return text[: len(text) - end.metadata.hidden]


def text_of_bytes(data: bytes) -> str:
    """Return text as it streams: a character that is not complete yet stays out."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data)


def message_versions(end: N) -> list[N]:
    """Return where a message and those in its place end, in the order of the tree.

    Parameters
    ----------
    end : Node
        Where the message ends; it is one of them.
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
    """Yield the checkpoints up to one where messages end, latest first, as far as asked for."""
    following: Notes | None = None
    for at in node.lineage():
        if not at.is_root and at.metadata.ends_message(following):
            yield at
        following = at.metadata


def message_ends(path: Sequence[M]) -> Iterator[M]:
    """Yield those of a path where messages end; they may be checkpoints, or saved ones."""
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
    """Return the messages on a path, as chat templates take them.

    Parameters
    ----------
    path : sequence of Node or Entry
    text_of : callable
        What a message says that ends there, where the notes do not have it.
    system : str or None
        The system message, where the path has none.
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
    """Return the checkpoint of a message's token, and its number in there.

    Parameters
    ----------
    end : Node
        Where the message ends.
    token : int
        Counted from the message's first token, 0; -1 is its last.
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
