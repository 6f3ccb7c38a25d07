"""Segments on their way into a store: complete and checked, and not yet in the catalog.

They wait in a folder of their own, so that a pull that was killed goes on where it was. A lock in
that folder tells a collection that they are not left over.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType, TracebackType

from ...errors import (
    SessionError,
    SessionFormatError,
    SessionNotFoundError,
    SessionWriteError,
)
from ...state.atomic import make_private_folder, move_into, write_atomically
from ...state.segment_file import read_segment
from ..reading import ENDING, SEGMENTS

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["Arrivals", "clear_arrivals"]

_FOLDER = "arriving"
_LOCK = "lock"


class Arrivals:
    """The segments that are on their way into a store, while a pull runs.

    Parameters
    ----------
    folder : Path
        Of the store.
    """

    def __init__(self, folder: Path) -> None:
        self._store = folder
        self._folder = folder / _FOLDER

    def __enter__(self) -> Arrivals:
        for folder in (self._store, self._folder, self._store / SEGMENTS):
            make_private_folder(folder)
        try:
            self._lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise SessionWriteError(
                f"nothing can be pulled into this folder: {error.strerror}"
            ) from error
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(self._lock, fcntl.LOCK_SH)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._lock)

    def _path(self, address: str) -> Path:
        return self._folder / f"{address}{ENDING}"

    def _place(self, address: str) -> Path:
        """Its place in the store, where it is, too, if a pull was killed in its last moment."""
        return self._store / SEGMENTS / f"{address}{ENDING}"

    def has(self, address: str, n_bytes: int) -> bool:
        """Return whether a segment has arrived whole; what has not is removed."""
        for path in (self._path(address), self._place(address)):
            with contextlib.suppress(SessionError):
                _check(path, address, n_bytes)
                return True
        with contextlib.suppress(OSError):
            self._path(address).unlink()
        return False

    def receive(self, address: str, n_bytes: int, parts: Iterable[bytes]) -> None:
        """Write a segment and check it.

        Raises
        ------
        SessionFormatError
            When it is not the segment of this address.
        SessionWriteError
            When it cannot be written.
        """
        path = self._path(address)
        write_atomically(path, parts)
        try:
            _check(path, address, n_bytes)
        except SessionError as error:
            with contextlib.suppress(OSError):
                path.unlink()
            raise SessionFormatError(
                f"{SEGMENTS}/{path.name} is damaged there: {error}. Remove that file and push its "
                "session again from where it is whole"
            ) from None

    def move_in(self, addresses: Sequence[str]) -> list[int]:
        """Move segments to the others; return their bytes.

        Raises
        ------
        SessionNotFoundError
            When another pull has done that, or they were cleared away.
        """
        waiting = [each for each in addresses if self._path(each).exists()]
        try:
            sizes = [
                (self._path(each) if each in waiting else self._place(each)).stat().st_size
                for each in addresses
            ]
        except FileNotFoundError as error:
            raise SessionNotFoundError(
                f"{Path(error.filename).name} has arrived and is gone again: pull once more"
            ) from None
        move_into(self._store / SEGMENTS, map(self._path, waiting))
        return sizes


def _check(path: Path, address: str, n_bytes: int) -> None:
    segment = read_segment(path)
    if segment.address != address:
        raise SessionFormatError(f"it holds {segment.address}")
    if path.stat().st_size != n_bytes:
        raise SessionFormatError(f"it has not the {n_bytes:,} bytes that it had")
    if not segment.tokens or (segment.logits is not None and not segment.whole):
        raise SessionFormatError("it holds no tokens, or what no segment travels with")


def clear_arrivals(folder: Path) -> int:
    """Remove what killed pulls have left, unless a pull is running; return the bytes freed.

    Parameters
    ----------
    folder : Path
        Of the store.
    """
    freed = 0
    arriving = folder / _FOLDER
    with contextlib.suppress(OSError):
        lock = os.open(arriving / _LOCK, os.O_RDWR)
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in arriving.iterdir():
                if path.name != _LOCK:
                    n_bytes = path.stat().st_size
                    path.unlink()
                    freed += n_bytes
        finally:
            os.close(lock)
    return freed
