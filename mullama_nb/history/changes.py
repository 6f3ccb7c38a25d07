"""Tracking the changes of a tree since it was last saved, without traversing it."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["Changes"]


class Changes:
    """Counts changes to a tree, and records the checkpoints concerned.

    A move of the head does not count: it is saved with the next change.

    Attributes
    ----------
    count : int
    """

    def __init__(self) -> None:
        self.count = 0
        self._last: OrderedDict[str, int] = OrderedDict()  # the latest change last

    def note(self, *identifiers: str) -> None:
        """Count a change, of checkpoints with these ids, or else of tags and the like."""
        self.count += 1
        for identifier in identifiers:
            self._last[identifier] = self.count
            self._last.move_to_end(identifier)

    def since(self, count: int) -> list[str]:
        """Return ids of the checkpoints changed, added or removed after a count."""
        found = []
        for identifier in reversed(self._last):
            if self._last[identifier] <= count:
                break
            found.append(identifier)
        return found[::-1]
