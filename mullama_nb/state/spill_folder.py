"""Folders for spilled rows: each belongs to one process, and is removed when that ends.

Rows are a conversation in plain form, so they must not outlive their process. The folder is locked
for as long as its process lives; the system releases the lock, however the process ends. That also
works among containers that share a folder and do not see each other's processes. A folder that
cannot be locked, or inspected, counts as in use.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import stat
import tempfile
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType

from ..errors import SessionWriteError
from .atomic import make_private_folder

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["SpillFolder", "remove_abandoned"]

_PREFIX = "mullama-rows-"
_OURS = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")
_PRIVATE = 0o700
_swept: set[str] = set()  # folders that this process has looked through
_live: weakref.WeakSet[SpillFolder] = weakref.WeakSet()


class SpillFolder:
    """A private folder, removed with this object, at exit and on SIGTERM.

    Parameters
    ----------
    parent : Path, optional
        None: the system's folder for temporary files.

    Raises
    ------
    SessionWriteError
        When it cannot be created.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, parent: Path | None) -> None:
        if parent is not None:
            make_private_folder(parent)
        self.path, lock = _make_locked(parent)
        self.remove = weakref.finalize(self, _remove_own, self.path, lock, os.getpid())
        _live.add(self)

    def file(self, name: str) -> Path:
        """Return the path of a file in the folder; called on the thread that creates the file."""
        _heed_sigterm()
        return self.path / name

    @property
    def is_there(self) -> bool:
        """Whether the folder still exists: some systems clean up temporary files."""
        return self.path.is_dir()


def remove_abandoned(parent: Path | None) -> None:
    """Remove folders of processes that have ended; once per process is enough.

    Parameters
    ----------
    parent : Path, optional
        As for ``SpillFolder``.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    if fcntl is None or os.path.abspath(place) in _swept:  # noqa: PTH100 - links stay as they are
        return
    _swept.add(os.path.abspath(place))  # noqa: PTH100
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for name in [entry.name for entry in entries if _OURS.fullmatch(entry.name)]:
            with _locked(place / name) as lock:
                if lock is not None:
                    shutil.rmtree(place / name, ignore_errors=True)


def _make_locked(parent: Path | None) -> tuple[Path, int | None]:
    """A new folder and what holds its lock, None where folders cannot be locked.

    Between making and locking it another process may take it for abandoned; then it is made again.
    """
    try:
        while True:
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            if fcntl is None:
                return path, None
            with contextlib.suppress(FileNotFoundError):
                lock = os.open(path, os.O_RDONLY)
                with contextlib.suppress(OSError):  # without locks: nobody else gets one either
                    fcntl.flock(lock, fcntl.LOCK_EX)
                if path.exists():
                    return path, lock
                os.close(lock)
    except OSError as error:
        raise SessionWriteError(
            f"a folder for rows cannot be made: {error.strerror or error}"
        ) from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int | None]:
    """Lock a folder that is ours and that no process holds; else None."""
    assert fcntl is not None
    lock = None
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            stack.callback(os.close, descriptor)
            found = os.fstat(descriptor)
            if found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == _PRIVATE:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock = descriptor
        yield lock


def _remove_own(folder: Path, lock: int | None, owner: int) -> None:
    """Remove a folder, but not from a process that only inherited it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        with contextlib.suppress(OSError):
            os.close(lock)


# -- SIGTERM --------------------------------------------------------------------------------------


def _heed_sigterm() -> None:
    """Remove folders before SIGTERM ends the process, unless another handler is set."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _remove_and_end)


def _leave_to_the_parent() -> None:
    """A forked child has no folders of its own yet, and is ended as any other process."""
    if signal.getsignal(signal.SIGTERM) is _remove_and_end:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


def _remove_and_end(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    for folder in list(_live):
        folder.remove()
    os.kill(os.getpid(), number)  # so that a waiting parent sees what ended it
