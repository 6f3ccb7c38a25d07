"""Writing files atomically, readable by their owner only."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from ..errors import SessionWriteError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["make_private_folder", "move_into", "write_atomically"]

# Of 1 to 16 MB this took the least time. To write to a page that is on its way to the disk means
# to wait for it, so the parts begin and end with one.
_WRITTEN_BACK = 1 << 20
_TEMPORARY = re.compile(r"\.mullama-[0-9a-f]{16}\.tmp")
_swept: set[str] = set()  # folders that this process has looked through


def write_atomically(
    path: Path,
    pieces: Iterable[bytes | memoryview],
    *,
    durable: bool = True,
    private: bool = True,
) -> int:
    """Write a file atomically, readable by its owner only unless it is said otherwise.

    Temporary file in the same folder, fsync, rename, fsync of the folder. A killed process leaves
    its temporary file behind; the next write into that folder removes it.

    Parameters
    ----------
    path : Path
        An existing file stays until the new one is complete on disk.
    pieces : iterable of bytes-like
        The contents, in order.
    durable : bool
        False skips both fsyncs, for files that end with their process anyway.
    private : bool
        False leaves it to the user's umask who can read it.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    SessionWriteError
        When the folder is missing, the disk is full or anything else fails; no temporary file is
        left, and an existing file is intact.
    """
    if not path.name:
        raise SessionWriteError(f"{str(path)!r} names no file; add a name to the folder")
    temporary = path.with_name(f".mullama-{secrets.token_hex(8)}.tmp")
    written = on_its_way = 0
    try:
        _remove_abandoned(path.parent)
        descriptor = _make_locked(temporary, 0o600 if private else 0o666)
        try:
            for piece in pieces:
                view = memoryview(piece).cast("B")
                while view.nbytes:  # a write may take less than it was given
                    n = os.write(descriptor, view)
                    view = view[n:]
                    written += n
                whole = written - written % _WRITTEN_BACK
                if durable and whole > on_its_way:
                    _write_back(descriptor, on_its_way, whole)
                    on_its_way = whole
            if durable:
                os.fsync(descriptor)
            if fcntl is not None:
                temporary.replace(path)  # while it is locked
        finally:
            os.close(descriptor)
        if fcntl is None:  # Windows does not rename what is open
            temporary.replace(path)
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink()
        reason = error.strerror if isinstance(error, OSError) else None
        raise SessionWriteError(
            f"{path.name} could not be written after {written:,} bytes: {reason or error}. "
            "What was there before is intact; free some space or choose another folder"
        ) from error
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        _sync_folder(path.parent)
    return written


def _write_back(descriptor: int, start: int, stop: int) -> None:
    """Let the disk begin with what was written, so that fsync has little left to wait for.

    Linux sends off what is dirty in such a range, and keeps what is on its way.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, start, stop - start, os.POSIX_FADV_DONTNEED)


def _make_locked(temporary: Path, mode: int) -> int:
    """Make a file that is locked for as long as its writer lives.

    Between making and locking it another writer may take it for abandoned; then it is made again.
    """
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        if fcntl is None:
            return descriptor
        with contextlib.suppress(OSError):  # file systems without locks: nobody removes it either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if temporary.exists():
            return descriptor
        os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files whose writer was killed: the system has released their locks.

    Once in each process is enough, and in a folder of many files it is not done for each of them.
    """
    place = os.path.abspath(folder)  # noqa: PTH100 - links stay as they are
    if fcntl is None or place in _swept:
        return
    _swept.add(place)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _TEMPORARY.fullmatch(entry.name)]
        for name in names:
            with contextlib.suppress(OSError):  # somebody writes it, or it is not ours
                file = folder / name
                descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    file.unlink()
                finally:
                    os.close(descriptor)


def make_private_folder(folder: Path) -> None:
    """Make a folder, with its parents, that only its owner can enter.

    Raises
    ------
    SessionWriteError
        When it cannot be made, or a file is in the way.
    """
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise SessionWriteError(
            f"the folder {folder.name!r} cannot be made: {reason or error}"
        ) from error


def move_into(folder: Path, paths: Iterable[Path]) -> None:
    """Move complete files into another folder of the same file system.

    Raises
    ------
    SessionWriteError
        When one cannot be moved; those before it are.
    """
    for path in paths:
        try:
            path.replace(folder / path.name)
        except OSError as error:
            raise SessionWriteError(
                f"{path.name} could not be moved into {folder.name}: {error.strerror}"
            ) from error
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; Windows has no handle for a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
