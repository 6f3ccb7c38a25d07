"""Which rows and lanes a drawing of a tree has.

One row for each message, or for each checkpoint that is part of none: the segments of a message
that was resumed, or forked inside, share a row. One lane for each branch: siblings lie below each
other, the oldest first; the youngest goes on in its parent's lane, and those before it lie one lane
further in, so that lines never cross. Moves of the head change no row and no lane.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from .message import message_parts
from .node import Node
from .segments import continues_message, rests, version_ends

__all__ = [
    "Drawable",
    "Row",
    "lay_out",
    "path_rows",
    "row_of",
    "segments",
    "shared_tokens",
]

N = TypeVar("N", bound=Node)
N_co = TypeVar("N_co", bound=Node, covariant=True)


class Drawable(Protocol[N_co]):
    """The data that a drawing needs, of a graph or a tree."""

    @property
    def root(self) -> N_co:
        """The origin of all branches."""

    @property
    def head(self) -> N_co:
        """The current node."""

    @property
    def tags(self) -> Mapping[str, N_co]:
        """Nodes by their tags."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Row(Generic[N]):
    """One message, or one checkpoint of none, and its position.

    Attributes
    ----------
    checkpoint : Checkpoint
        Where the message ends.
    lane : int
        0 for the branch that goes on to the very end.
    parent_row : int or None
        None for the root.
    lines : tuple of int
        Lanes whose lines pass this row.
    branches_off : bool
        Whether the checkpoint starts its own lane.
    """

    checkpoint: N
    lane: int
    parent_row: int | None
    lines: tuple[int, ...]
    branches_off: bool


def lay_out(tree: Drawable[N]) -> list[Row[N]]:
    """Return the row and lane of every message, including the root.

    Returns
    -------
    list of Row
        From top to bottom; parents before their children, and siblings in their order.
    """
    rows: list[Row[N]] = []
    # Each entry: checkpoint, lane, row of the parent, lanes with a line, whether it branches off.
    stack: list[tuple[N, int, int | None, tuple[int, ...], bool]] = [
        (tree.root, 0, None, (), False)
    ]
    while stack:
        checkpoint, lane, parent_row, lines, branches_off = stack.pop()
        index = len(rows)
        rows.append(Row(checkpoint, lane, parent_row, lines, branches_off))
        below = list(_below(checkpoint))
        if below:
            stack.append((below[-1], lane, index, lines, False))
            stack += [
                (child, lane + 1, index, (*lines, lane), True) for child in reversed(below[:-1])
            ]
    return rows


def row_of(node: N) -> N:
    """Return the checkpoint in whose row one is drawn: where its message ends, first."""
    while not _has_row(node):
        node = rests(node)[0]
    return node


def path_rows(head: N) -> list[N]:
    """Return the rows on the way to a checkpoint, last one first.

    Another version of the same message is not on the way, though it may share tokens with it.
    """
    found, at = list[N](), head
    while True:
        found.append(row_of(at))
        begin = segments(at)[0]
        if begin.parent is None:
            return found
        at = begin.parent


def segments(end: N) -> list[N]:
    """Return the checkpoints of the message that ends at one, in order; without one, itself."""
    return message_parts(end) if continues_message(end) else [end]


def shared_tokens(end: Node) -> int:
    """Return how many tokens an answer shares with an older version, as it was forked inside."""
    if not end.metadata.is_answer:
        return 0
    parts = segments(end)
    following: Node | None = None
    for i in range(len(parts), 0, -1):
        before = parts[i - 1]
        older = before.children[:1]
        if older and older[0] is not following and continues_message(older[0]):
            return sum(len(part.tokens) for part in parts[:i])
        following = before
    return 0


def _has_row(node: Node) -> bool:
    """Whether a message ends here, for some branch: not where all children are the rest of it.

    What follows on the beginning of a question follows on the question.
    """
    following = rests(node)
    is_part = len(following) < len(node.children)
    return not following or (node.metadata.is_answer and is_part)


def _below(end: N) -> Iterator[N]:
    """The rows of what follows a message."""
    at: N | None = end
    while at is not None:
        for child in at.children:
            if not continues_message(child):
                yield from version_ends(child, _has_row)
        before = at.parent if continues_message(at) else None
        is_same = before is not None and not _has_row(before) and rests(before)[0] is at
        at = before if is_same else None
