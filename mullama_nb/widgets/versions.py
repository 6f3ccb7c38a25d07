"""The versions of a message: what stands in its place on other branches."""

from __future__ import annotations

from collections.abc import Iterator

from ..history.checkpoint import Checkpoint
from ..history.turn import message_parts

__all__ = ["versions"]


def versions(checkpoint: Checkpoint) -> list[Checkpoint]:
    """Where a message and those in its place end, in the order of the tree.

    Parameters
    ----------
    checkpoint : Checkpoint
        Where the message ends; it is one of them.
    """
    first = message_parts(checkpoint)[0]
    role = checkpoint.metadata.get("role")

    def walk(at: Checkpoint) -> Iterator[Checkpoint]:
        following = [child for child in at.children if child.metadata.get("continues")]
        if at is checkpoint or not following:
            yield at
        for child in following:
            yield from walk(child)

    begins = (c for c in first.siblings if c is first or c.metadata.get("role") == role)
    return [end for begin in begins for end in walk(begin)]
