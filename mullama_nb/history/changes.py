"""What has changed in a tree since it was last saved, without looking at all of it."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["Changes"]


class Changes:
    """Counts what changes a tree, and knows which checkpoints that were.

    Where the head stands is no change: it goes along with the next one.

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
        """Ids of the checkpoints that changed, came or went after a count; no others are seen."""
        found = []
        for identifier in reversed(self._last):
            if self._last[identifier] <= count:
                break
            found.append(identifier)
        return found[::-1]
