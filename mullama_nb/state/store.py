"""SegmentStore: segments by content address, in memory and, beyond a limit, in files."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from .. import machine
from ..errors import ParameterError, SessionError, SessionFormatError, SessionWriteError
from .ledger import NOTHING, Ledger, Record
from .segment import Segment
from .segment_file import read_segment, write_segment
from .spill_folder import SpillFolder, remove_abandoned

__all__ = ["SegmentStore"]

_SHARE = 4  # of the free memory, one part
_NEVER_HERE = "it was not put into the store, or was released"


class SegmentStore:
    """Segments by content address, the least recently used ones in files.

    Every byte of a file is checked before use, so that a segment is returned exactly as put. Rows
    that could not be written or read are lost: ``get`` returns None, and their tokens have to be
    evaluated again.

    Parameters
    ----------
    max_bytes : int, optional
        Memory for rows and logits. None: a quarter of the free memory.
    folder : Path, optional
        Where the store creates a private folder when first needed. None: the system's folder for
        temporary files.

    Attributes
    ----------
    max_bytes : int
    on_spill : callable, optional
        Called with each address after its rows were moved to a file or lost, on the thread that
        caused it. It may use the store.
    on_recall : callable, optional
        The same, after its rows were read back into memory.

    Notes
    -----
    Threads may share a store; while one waits for the disk, others can read from memory. An
    interrupt at any point leaves the store consistent, but it is unknown whether an interrupted
    ``put`` or ``release`` took effect: defer interrupts where that matters.
    """

    # `_disk` is held for files and taken first, `_lock` for the ledger and never for long.

    def __init__(self, max_bytes: int | None = None, folder: Path | None = None) -> None:
        if max_bytes is not None and max_bytes < 0:
            raise ParameterError(f"max_bytes={max_bytes} must be 0 or more, or None for a share")
        self.max_bytes = machine.here.memory.free // _SHARE if max_bytes is None else max_bytes
        self.on_spill: Callable[[str], None] | None = None
        self.on_recall: Callable[[str], None] | None = None
        self._parent_folder = folder
        self._folder: SpillFolder | None = None
        self._disk = threading.Lock()
        self._lock = threading.Lock()
        self._ledger = Ledger()
        self._pins: dict[object, frozenset[str]] = {}
        remove_abandoned(folder)
        # While these pins last nothing in memory can leave it, as a search for that has found.
        self._held_by: frozenset[object] = frozenset()

    # -- put, get, release -------------------------------------------------------------------

    def put(self, segment: Segment) -> str:
        """Keep a segment, or another reference to an equal one.

        Of equal segments with and without logits, the one with logits is kept.

        Parameters
        ----------
        segment : Segment
            Its arrays are not copied, and must not change.

        Returns
        -------
        str
            Its address.
        """
        address = segment.address
        n_bytes = segment.n_bytes
        with self._lock:
            record = self._ledger.records.get(address, NOTHING)
            references = record.references + 1
            if not self._ledger.has_rows(address) or n_bytes > record.n_bytes:
                self._take_in(address, Record(references, n_bytes), segment)
            else:
                here = self._ledger.memory.get(address)
                self._ledger.note(address, record._replace(references=references), here)
            if address in self._ledger.memory:
                self._ledger.memory.move_to_end(address)
        self._keep_to_budget()
        return address

    def lend(self, address: str, n_bytes: int, read: Callable[[str], Segment]) -> None:
        """Keep a reference to rows stored elsewhere, which are read when needed.

        Parameters
        ----------
        address : str
        n_bytes : int
            Bytes of rows and logits.
        read : callable
            Returns the checked segment of an address; a ``SessionError`` means that it is lost.
        """
        with self._lock:
            record = self._ledger.records.get(address, NOTHING)
            if not self._ledger.has_rows(address):
                record = record._replace(n_bytes=n_bytes, read=read)
            record = record._replace(references=record.references + 1)
            self._ledger.note(address, record, self._ledger.memory.get(address))

    def note_lost(self, address: str, reason: str) -> None:
        """Keep a reference to rows that are not here.

        Parameters
        ----------
        address : str
        reason : str
            What ``why_lost`` says, unless equal rows are here.
        """
        with self._lock:
            record = self._ledger.records.get(address, NOTHING)
            if not self._ledger.has_rows(address):
                record = record._replace(reason=reason)
            record = record._replace(references=record.references + 1)
            self._ledger.note(address, record, self._ledger.memory.get(address))

    def get(self, address: str) -> Segment | None:
        """Return the segment at an address, read back from its file if necessary.

        Parameters
        ----------
        address : str

        Returns
        -------
        Segment or None
            None if its rows are lost; ``why_lost`` gives the reason.
        """
        with self._lock:
            segment = self._ledger.memory.get(address)
            if segment is not None:
                self._ledger.memory.move_to_end(address)
                return segment
        return self._get_from_disk(address)

    def release(self, address: str) -> None:
        """Drop one reference; with the last one the rows and their file are removed.

        Raises
        ------
        KeyError
            When there is no reference to drop.
        """
        with self._disk:
            with self._lock:
                record = self._ledger.records[address]
                if record.references > 1:
                    record = record._replace(references=record.references - 1)
                    self._ledger.note(address, record, self._ledger.memory.get(address))
                    return
                self._ledger.forget(address)
            self._remove_file(address)

    # -- look --------------------------------------------------------------------------------

    def place(self, address: str) -> Literal["memory", "disk", "lost"]:
        """Return where the rows of an address are."""
        with self._lock:
            if address in self._ledger.memory:
                return "memory"
            return "disk" if self._ledger.has_rows(address) else "lost"

    def why_lost(self, address: str) -> str | None:
        """Return why the rows of an address are lost, in words; None if they are not."""
        with self._lock:
            if self._ledger.has_rows(address):
                return None
            record = self._ledger.records.get(address)
            return _NEVER_HERE if record is None else record.reason

    def bytes_of(self, address: str) -> int:
        """Return the bytes of a segment's rows and logits, in memory or not; 0 if they are lost."""
        with self._lock:
            return self._ledger.records[address].n_bytes if self._ledger.has_rows(address) else 0

    @property
    def memory_bytes(self) -> int:
        """The bytes of rows and logits in memory."""
        with self._lock:
            return self._ledger.sums.memory

    @property
    def disk_bytes(self) -> int:
        """The bytes of all files, including those whose rows are in memory again."""
        with self._lock:
            return self._ledger.sums.files

    def __len__(self) -> int:
        return len(self._ledger.records)

    def __contains__(self, address: object) -> bool:
        return address in self._ledger.records

    def __repr__(self) -> str:
        return (
            f"SegmentStore({len(self)} segments, {self.memory_bytes:,} bytes in memory, "
            f"{self.disk_bytes:,} bytes in files)"
        )

    # -- move --------------------------------------------------------------------------------

    def spill(self, address: str) -> None:
        """Move rows from memory to a file, unless they are pinned or not in memory.

        Raises
        ------
        KeyError
            When the address is unknown.
        """
        if address not in self._ledger.records:
            raise KeyError(address)
        self._spill(address)

    @contextlib.contextmanager
    def pinned(self, addresses: Iterable[str]) -> Iterator[None]:
        """Pin rows that are in memory, or come there, even beyond ``max_bytes``.

        Parameters
        ----------
        addresses : iterable of str
        """
        pin, pinned = object(), frozenset(addresses)
        try:
            self._pins[pin] = pinned
            yield
        finally:
            self._pins.pop(pin, None)  # takes no lock, as an interrupt could end that
            self._keep_to_budget()

    def close(self) -> None:
        """Remove everything, including all files; the store is then empty, and still usable."""
        with self._disk, self._lock:
            self._ledger.clear()
            folder, self._folder = self._folder, None
            if folder is not None:
                folder.remove()

    def _is_pinned(self, address: str) -> bool:
        return any(address in pinned for pinned in tuple(self._pins.values()))

    def _keep_to_budget(self) -> None:
        while surplus := self._surplus():
            for address in surplus:
                self._spill(address)

    def _surplus(self) -> list[str]:
        """What has to leave the memory, least recently used first."""
        surplus: list[str] = []
        with self._lock:
            excess = self._ledger.sums.memory - self.max_bytes
            if excess <= 0 or (self._held_by and self._held_by <= self._pins.keys()):
                return surplus
            pins, pinned = frozenset(self._pins), []
            for address in self._ledger.memory:
                if self._is_pinned(address):
                    pinned.append(address)
                    continue
                surplus.append(address)
                excess -= self._ledger.records[address].n_bytes
                if excess <= 0:
                    break
            self._held_by = frozenset() if surplus else pins
            for address in pinned:  # being used, they need not be passed again
                self._ledger.memory.move_to_end(address)
            return surplus

    def _take_in(self, address: str, record: Record, segment: Segment) -> None:
        if not self._is_pinned(address):
            self._held_by = frozenset()
        self._ledger.note(address, record, segment)

    def _spill(self, address: str) -> None:
        with self._disk:
            with self._lock:
                segment = self._ledger.memory.get(address)
                if segment is None or self._is_pinned(address):
                    return
                before = self._ledger.records[address]
                file_bytes, reason = before.file_bytes, ""
            if not file_bytes and before.read is None:
                try:
                    file_bytes = write_segment(self._path(address), segment, durable=False)
                except SessionWriteError as error:
                    reason = str(error)
            with self._lock:
                if self._ledger.memory.get(address) is not segment:
                    return  # meanwhile an equal one with logits took its place
                record = self._ledger.records[address]
                stays = self._is_pinned(address)
                record = record._replace(file_bytes=file_bytes, reason=reason)
                self._ledger.note(address, record, segment if stays else None)
                if stays:
                    return
        self._tell(address)

    def _get_from_disk(self, address: str) -> Segment | None:
        with self._disk:
            with self._lock:
                segment = self._ledger.memory.get(address)
                if segment is not None or not self._ledger.has_rows(address):
                    return segment
                read = self._ledger.records[address].read
            reason, is_back = "", False
            try:
                segment = read_segment(self._path(address)) if read is None else read(address)
                if segment.address != address:
                    raise SessionFormatError(
                        f"the file of segment {address} holds {segment.address}: it was exchanged. "
                        "Its tokens must be evaluated again"
                    )
            except SessionError as error:
                segment, reason = None, str(error)
                self._remove_file(address)
            with self._lock:
                record = self._ledger.records[address]
                here = self._ledger.memory.get(address)  # an equal one may have been put meanwhile
                if reason:
                    record = record._replace(file_bytes=0, reason=reason, read=None)
                    self._ledger.note(address, record, here)
                elif segment is not None and here is None:
                    self._take_in(address, record, segment)
                    is_back = True
                segment = self._ledger.memory.get(address)
        if segment is None:
            self._tell(address)
        else:
            self._keep_to_budget()
        if is_back and self.on_recall is not None:
            self.on_recall(address)
        return segment

    def _tell(self, address: str) -> None:
        if self.on_spill is not None:
            self.on_spill(address)

    # -- files, with `_disk` held ------------------------------------------------------------

    def _path(self, address: str) -> Path:
        """The file of an address, in a folder that exists."""
        if self._folder is None or not self._folder.is_there:
            self._folder = SpillFolder(self._parent_folder)
        return self._folder.file(_name(address))

    def _remove_file(self, address: str) -> None:
        if self._folder is not None:
            with contextlib.suppress(OSError):
                (self._folder.path / _name(address)).unlink()


def _name(address: str) -> str:
    return f"{address}.segment"
