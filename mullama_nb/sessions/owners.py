"""Owners of names, which save a chat after every turn, and whether they are still alive.

An owner holds a lock on a file of its own for as long as it lives. The system releases it when the
process ends, in whatever way, and shows it to all who share the folder, even from another container
or over a network. Where there are no locks, the process is looked up instead.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import weakref
from pathlib import Path
from types import ModuleType

from ..errors import SessionWriteError
from ..state.atomic import make_private_folder
from ..state.process import is_running, this_process

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["Holder", "Owner", "sweep"]

_FOLDER = "owners"
_TOKEN = re.compile("[0-9a-f]{32}")
# Of this process. A lock that is tried here would be let go of here, too.
_living: weakref.WeakValueDictionary[str, Owner] = weakref.WeakValueDictionary()


class Owner:
    """An owner of a name: a chat that is saved there after every turn.

    Parameters
    ----------
    folder : Path
        Of the store.

    Raises
    ------
    SessionWriteError
        When its lock cannot be created.

    Attributes
    ----------
    token : str
        A unique text.
    process : str
        See ``this_process``.
    """

    def __init__(self, folder: Path) -> None:
        self.token = secrets.token_hex(16)
        self.process = this_process()
        path = folder / _FOLDER / f"{self.token}.lock"
        make_private_folder(folder)
        make_private_folder(path.parent)
        unlocked = path.with_suffix(".new")  # `sweep` takes what is not locked for a dead one's
        try:
            descriptor = os.open(unlocked, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unlocked.rename(path)
        except OSError as error:
            raise SessionWriteError(
                f"the owner of a name cannot be recorded here: {error.strerror or error}"
            ) from error
        self.end = weakref.finalize(self, _let_go, descriptor, path, os.getpid())
        _living[self.token] = self


def _let_go(descriptor: int, path: Path, process: int) -> None:
    if os.getpid() == process:
        with contextlib.suppress(OSError):
            path.unlink()
        with contextlib.suppress(OSError):
            os.close(descriptor)


class Holder:
    """The catalog's record of an owner.

    Parameters
    ----------
    folder : Path
    token, process : str
    """

    def __init__(self, folder: Path, token: str, process: str) -> None:
        self.token = token
        self._process = process
        self._path = folder / _FOLDER / f"{token}.lock"

    @property
    def is_here(self) -> bool:
        """Whether it is a chat of this process."""
        owner = _living.get(self.token)
        return owner is not None and owner.end.alive and owner.process == this_process()

    @property
    def is_living(self) -> bool:
        """Whether it is still alive, as far as can be known from here."""
        if not _TOKEN.fullmatch(self.token):  # the catalog is not trusted
            return False
        if self._process == this_process():
            return self.is_here
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        except OSError:
            return is_running(self._process)
        try:
            if fcntl is None:
                return is_running(self._process)
            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:  # EACCES: some systems say so of a lock that is held
            return isinstance(error, PermissionError) or is_running(self._process)
        finally:
            os.close(descriptor)
        return False

    def __str__(self) -> str:
        if self.is_here:
            return "another chat of this kernel"
        number = self._process.partition(":")[0]
        is_number = number.isascii() and number.isdecimal() and len(number) < 12
        return f"another process ({number})" if is_number else "another process"


def sweep(folder: Path) -> None:
    """Remove files left by owners that have ended."""
    if fcntl is None or not (folder / _FOLDER).is_dir():
        return
    for path in (folder / _FOLDER).glob("*.lock"):
        if path.stem not in _living and not Holder(folder, path.stem, "").is_living:
            with contextlib.suppress(OSError):
                path.unlink()
