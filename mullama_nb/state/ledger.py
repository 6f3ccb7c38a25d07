"""A store's records of addresses, with running sums of their sizes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .segment import Segment

__all__ = ["NOTHING", "Ledger", "Record", "Sums"]


class Record(NamedTuple):
    """The record of an address; immutable, replaced as a whole.

    The rows are in memory, or else in a file if ``file_bytes`` is not 0, or else in another store
    if they were lent, or else lost.
    """

    references: int = 0
    n_bytes: int = 0
    file_bytes: int = 0
    reason: str = "an interrupt came while it was put into the store or released"  # if lost
    read: Callable[[str], Segment] | None = None  # if they were lent


NOTHING = Record()


class Sums(NamedTuple):
    """Bytes of the rows in memory, and of all files."""

    memory: int
    files: int


class Ledger:
    """Records, and the segments in memory, with their sums; used under its owner's lock.

    A change removes the sums before it begins and sets the updated ones when it is done. After an
    interrupt in between there are none, and they are computed anew on the next access: existing
    sums can be trusted.
    """

    # A record is made before its rows get into `memory` and dropped after they leave: whatever an
    # interrupt cuts short, there are no rows without a record.

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.memory: OrderedDict[str, Segment] = OrderedDict()  # least recently used first
        self._sums: Sums | None = Sums(0, 0)

    @property
    def sums(self) -> Sums:
        """The total sizes."""
        if self._sums is None:
            self._sums = self._counted(self.records)
        return self._sums

    def has_rows(self, address: str) -> bool:
        """Return whether the rows of an address exist."""
        record = self.records.get(address, NOTHING)
        return address in self.memory or record.file_bytes > 0 or record.read is not None

    def note(self, address: str, record: Record, segment: Segment | None) -> None:
        """Replace the record of an address and its rows in memory; None if there are none."""
        before, sums = self._counted([address]), self._sums
        self._sums = None
        self.records[address] = record
        if segment is None:
            self.memory.pop(address, None)
        else:
            self.memory[address] = segment
        self._put_back(sums, before, self._counted([address]))

    def forget(self, address: str) -> None:
        """Remove an address completely."""
        before, sums = self._counted([address]), self._sums
        self._sums = None
        self.memory.pop(address, None)
        del self.records[address]
        self._put_back(sums, before, Sums(0, 0))

    def clear(self) -> None:
        """Remove everything."""
        self._sums = None
        self.memory.clear()
        self.records.clear()
        self._sums = Sums(0, 0)

    def _put_back(self, sums: Sums | None, before: Sums, after: Sums) -> None:
        if sums is not None:
            memory, files = sums.memory - before.memory, sums.files - before.files
            self._sums = Sums(memory + after.memory, files + after.files)

    def _counted(self, addresses: Iterable[str]) -> Sums:
        memory = files = 0
        for address in addresses:
            record = self.records.get(address, NOTHING)
            memory += record.n_bytes if address in self.memory else 0
            files += record.file_bytes
        return Sums(memory, files)
