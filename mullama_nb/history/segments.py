"""Segments of one message: checkpoints that go on with it, as it was resumed or forked inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from .node import Node

__all__ = ["continues_message", "rests", "version_ends"]

N = TypeVar("N", bound=Node)


def continues_message(node: Node) -> bool:
    """Return whether a checkpoint goes on with the message of its parent."""
    return node.parent is not None and node.metadata.is_message and node.metadata.continues


def rests(node: N) -> list[N]:
    """Return the checkpoints that go on with the message of one."""
    return [child for child in node.children if continues_message(child)]


def version_ends(begin: N, is_end: Callable[[N], bool]) -> Iterator[N]:
    """Yield where the versions of a message end that begins at a checkpoint, the oldest first.

    Parameters
    ----------
    begin : Node
    is_end : callable
        Whether a version ends at a checkpoint; what goes on from there and is older comes before.
    """
    stack = [(begin, False)]  # each with whether those before it are on the stack
    while stack:
        at, is_next = stack.pop()
        following = rests(at)
        if is_next:
            yield at
            continue
        if is_end(at):
            n_older = next((n for n, c in enumerate(at.children) if c not in following), 0)
            stack += [(each, False) for each in reversed(following[n_older:])]
            stack.append((at, True))
            following = following[:n_older]
        stack += [(each, False) for each in reversed(following)]
