"""The ways that were gone in a tree: another version of a message comes with what followed it."""

from __future__ import annotations

import itertools

from ..history.message import chain
from ..history.tree import Checkpoint

__all__ = ["VisitedWays"]


class VisitedWays:
    """Where one went last from each checkpoint."""

    def __init__(self) -> None:
        self._after: dict[str, Checkpoint] = {}

    def remember(self, head: Checkpoint) -> None:
        """Remember the way to a head."""
        for after, checkpoint in itertools.pairwise(chain(head)):
            self._after[checkpoint.id] = after

    def end_from(self, at: Checkpoint) -> Checkpoint:
        """Return where the way from a checkpoint ended, or else the first one there is."""
        while following := at.followers:
            visited = self._after.get(at.id)
            at = visited if visited in following else following[0]
        return at
