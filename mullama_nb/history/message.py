"""Messages: the conversation at a checkpoint, their checkpoints, their text, their versions.

``conversation_at`` is the one place that says what was said: turns, messages, undo, exports and
recordings all come from it. It follows the checkpoints in the order in which they were said, which
is not always that of the tree: a template that rewrites earlier text makes a branch elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeAlias, TypeVar

from ..checks import check_integer
from ..errors import ParameterError
from .node import Node
from .notes import Message, Noted, Notes
from .segments import rests, version_ends

__all__ = [
    "Line",
    "answer_said",
    "chain",
    "content_text",
    "conversation_at",
    "keep_said",
    "last_end",
    "last_message",
    "lines_at",
    "message_of",
    "message_parts",
    "message_text",
    "message_versions",
    "messages_back",
    "point_before",
    "token_place",
    "tokens_said",
    "whole_message",
]

N = TypeVar("N", bound=Node)
M = TypeVar("M", bound=Noted)
_TAIL = 64  # tokens of a prompt that tell whether it opened a thought

Previous: TypeAlias = Callable[[M], M | None]


@dataclass(frozen=True)
class Line(Generic[M]):
    """One message of a conversation.

    Attributes
    ----------
    message : dict
        In the form that chat templates take.
    end : Node or Entry
        The checkpoint where it ends, or the one that holds it with others.
    index : int or None
        Which of the messages up to ``end`` it is, if it has no checkpoint of its own: that was
        pruned, or never made.
    """

    message: dict[str, Any]
    end: M
    index: int | None = None


def chain(node: N) -> Iterator[N]:
    """Yield a checkpoint, the one before it in the conversation, and so on to the root."""
    at: N | None = node
    while at is not None:
        yield at
        at = at.previous


def messages_back(node: N) -> Iterator[list[N]]:
    """Yield lazily the checkpoints of each message up to one, latest message first."""
    return (parts for parts, ends in _messages_back(node, attrgetter("previous")) if ends)


def last_message(node: N) -> list[N] | None:
    """Return the checkpoints of the last message up to one; None without any."""
    return next(messages_back(node), None)


def last_end(node: N) -> N | None:
    """Return where the last message up to a checkpoint ends; None without any."""
    parts = last_message(node)
    return None if parts is None else parts[-1]


def point_before(end: N) -> N:
    """Return the head before the message that ends at a checkpoint."""
    before = message_parts(end)[0].previous
    assert before is not None
    return before


def lines_at(node: N, system: str | None = None) -> list[Line[N]]:
    """Return the messages up to a checkpoint; see ``conversation_at``."""
    return conversation_at(node, attrgetter("previous"), message_of, system)


def _messages_back(node: M, previous: Previous[M]) -> Iterator[tuple[list[M], bool]]:
    """Yield lazily the checkpoints of each message, and whether it ends there.

    It does not where the rest of a question was cut off; what was before it may be noted there.
    """
    parts: list[M] = []
    following: Notes | None = None
    ends = False
    at, before = node, previous(node)
    while before is not None:
        notes = Notes.of(at.metadata)
        if not parts:
            ends = notes.ends_message(following)
        if parts or ends or notes.is_message:
            parts.append(at)
            if not notes.continues:
                yield parts[::-1], ends
                parts = []
        following = notes
        at, before = before, previous(before)
    if parts:
        yield parts[::-1], ends


def conversation_at(
    node: M,
    previous: Previous[M],
    message_of: Callable[[M], dict[str, Any]],
    system: str | None = None,
) -> list[Line[M]]:
    """Return the messages up to a checkpoint, live or saved.

    Parameters
    ----------
    node : Node or Entry
    previous : callable
        Returns the checkpoint before one in the conversation; None for the root.
    message_of : callable
        Returns the message that ends at a checkpoint.
    system : str or None
        The system message, if none was said; the root holds it.
    """
    lines: list[Line[M]] = []
    said = [*_messages_back(node, previous)][::-1]
    told = None if system is None else {"role": "system", "content": system}
    first = next((parts[-1] for parts, ends in said if ends), None)
    if told is not None and (first is None or _role(first) != "system"):
        root = node
        while (before := previous(root)) is not None:
            root = before
        lines.append(Line(told, root, 0))
    for parts, ends in said:
        end = parts[-1]
        history = next((h for p in reversed(parts) if (h := Notes.of(p.metadata).history)), None)
        if history is not None:
            its_own = ends and _role(end) == "system"  # nothing is told before it
            lines = _with_history(lines, history[:-1], end, None if its_own else told)
        if ends:
            lines.append(Line(message_of(end), end))
    return lines


def _role(end: Noted) -> str | None:
    notes = Notes.of(end.metadata)
    role: str | None = (notes.message or notes).get("role")
    return role


def _with_history(
    lines: list[Line[M]], history: Sequence[Message], end: M, system: Message | None
) -> list[Line[M]]:
    """The messages before one whose notes list them: not all have checkpoints of their own."""
    before = [dict(message) for message in history]
    if system is not None and not any(message["role"] == "system" for message in before[:1]):
        before.insert(0, dict(system))
    is_other = _is_told_otherwise(lines, before)
    if not is_other and [m["role"] for m in before] == [line.message["role"] for line in lines]:
        return lines  # earlier versions noted all messages where the template rewrote one
    same = itertools.takewhile(
        lambda pair: pair[0].message == pair[1], zip(lines, before, strict=False)
    )
    n = sum(1 for _ in same)
    held = [Line(message, end, index) for index, message in enumerate(before[n:], n)]
    return lines[:n] + held


def _is_told_otherwise(lines: Sequence[Line[M]], before: Sequence[Message]) -> bool:
    """Whether another system message was said than the one that is told at the root."""
    if not lines or not before or lines[0].index is None:
        return False
    told, said = lines[0].message, before[0]
    return bool(told["role"] == said["role"] == "system" and told != said)


def keep_said(node: N) -> None:
    """Note what a node that will be removed said, for those that go on from there and remain."""
    gone = {node, *node.descendants()}
    left = [(origin, each) for origin in gone for each in origin.followers if each not in gone]
    for origin, begin in left:
        end = _first_end(begin)
        lines = lines_at(end)
        history = [line.message for line in lines]
        if not lines or lines[-1].end is not end or lines[-1].index is not None:
            history.append({"role": end.metadata.role, "content": ""})  # all but a piece is lost
        begin.metadata["came_from"] = _survivor(origin, gone).id
        begin.metadata["history"] = history


def _survivor(node: N, gone: set[N]) -> N:
    """The last checkpoint before one that remains, and ends a whole message if any."""
    is_piece = False
    for at in chain(node):
        if at not in gone and not is_piece:
            return at
        is_piece = at.metadata.continues
    raise AssertionError("unreachable")  # the root remains


def _first_end(begin: N) -> N:
    """Where a message ends, first, that begins with a checkpoint."""
    while (rest := next((c for c in begin.children if c.metadata.continues), None)) is not None:
        begin = rest
    return begin


def whole_message(node: N) -> N:
    """Return the end of a message that was given, for a piece that was cut off its beginning.

    A piece of an answer stays one, unless the template's text is in it.
    """
    if not node.metadata.cut:
        return node
    end = _first_end(node)
    if node.metadata.is_answer:
        given = end.metadata.message
        if given is None or content_text(given).startswith(message_text(node)):
            return node
    return end


def message_parts(end: N) -> list[N]:
    """Return the checkpoints of one message, in order: several if it was resumed or cut."""
    parts = [end]
    while parts[-1].metadata.continues and parts[-1].parent is not None:
        parts.append(parts[-1].parent)
    return parts[::-1]


def tokens_said(point: Node) -> int:
    """Return the number of tokens that an answer has which goes on from a checkpoint."""
    if not point.metadata.is_answer:
        return 0
    return sum(len(part.tokens) for part in message_parts(point))


def message_text(end: Node) -> str:
    """Return a message's text, without the template around it.

    That of a generated one knows its control tokens, so that a template can render them again.
    """
    message = end.metadata.message
    if message is not None:
        return content_text(message)
    given, tokens = "", list[int]()
    for part in message_parts(end):
        if part.metadata.message is None:
            tokens += part.tokens
        else:  # all of the message up to there
            given, tokens = content_text(part.metadata.message), []
    text = end._contents.spoken_by(tuple(tokens), given)  # at once: a part may end in a character
    return text[: len(text) - end.metadata.hidden]


def message_of(end: Node) -> dict[str, Any]:
    """Return a message in the form that chat templates take.

    Thoughts and calls of an answer are read from its text.
    """
    given, said = end.metadata.message, answer_said(end)
    if said is None:
        return _plain_message(end)
    message = end._contents.answer_message(*said)
    for key, value in (given or {}).items():
        message.setdefault(key, value)
    return message


def _plain_message(end: Node) -> dict[str, Any]:
    given = end.metadata.message
    if given is not None:
        return dict(given)
    return {"role": end.metadata.role, "content": message_text(end)}


def answer_said(end: Node) -> tuple[str, tuple[int, ...]] | None:
    """Return an answer's text, and the tokens before it that tell whether it begins in a thought.

    None for a message that is no answer, or was given as a whole. A text that was put in an
    answer's place counts as generated.
    """
    notes = end.metadata
    if not notes.is_answer or (notes.message is not None and not notes.edited):
        return None
    parts = message_parts(end)
    before, at = _tokens_in_front(parts), parts[0].parent
    while at is not None and len(before) < _TAIL:
        before[:0] = at.tokens[-_TAIL:]
        at = at.parent
    return message_text(end), tuple(before[-_TAIL:])


def _tokens_in_front(parts: Sequence[Node]) -> list[int]:
    """The tokens of an answer in front of a text that was given: the template ends a thought."""
    given = [n for n, part in enumerate(parts, 1) if part.metadata.message is not None]
    if not given:
        return []
    last = parts[given[-1] - 1]
    tokens = [token for part in parts[: given[-1]] for token in part.tokens]
    text_of, said = last._contents.text_of, content_text(last.metadata.message or {}).strip()
    n, n_before = 0, text_of(tuple(tokens)).rfind(said)
    while len(text_of(tuple(tokens[:n]))) < n_before:
        n += 1
    return tokens[:n]


def content_text(message: Message) -> str:
    """Return the text of a message's content, which may be a list of parts."""
    content = message.get("content")
    if isinstance(content, (list, tuple)):
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def message_versions(end: N) -> list[N]:
    """Return the ends of a message and its other versions, in the order of the tree.

    Parameters
    ----------
    end : Node
        Where the message ends; one of them.
    """
    first = message_parts(end)[0]
    role, before = end.metadata.role, first.previous
    beside = (first,) if before is None else before.followers
    begins = [node for node in beside if node is first or node.metadata.role == role]
    found = list[N]()
    for begin in begins:
        found += version_ends(begin, lambda at: at is end or not rests(at))
    return found


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
    token = check_integer("token", token)
    index = token + n if token < 0 else token
    if not 0 <= index < n:
        raise ParameterError(f"token={token} is not in the message, which has {n} tokens")
    for part in parts:
        if index < len(part.tokens):
            return part, index
        index -= len(part.tokens)
    raise AssertionError("unreachable")
