"""A store elsewhere that is a folder: on a disk that is shared, or carried about."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ...errors import ParameterError, SessionFormatError, SessionRemoteError
from ...state.atomic import make_private_folder, write_atomically
from ...state.reading import open_regular
from ..catalog import CATALOG
from .remote import CHUNK, Remote

__all__ = ["SharedFolder"]


class SharedFolder(Remote):
    """A folder whose files appear whole.

    Who can read it is for whoever makes the folder to decide; if it is made here, it is for its
    owner only.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    ParameterError
        When it is the folder of a live store.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if os.path.lexists(folder / CATALOG):
            raise ParameterError(
                f"the folder {folder.name!r} is a live store, which any process opens as it is: "
                "SessionManager(model, folder). Push to another folder"
            )

    def __str__(self) -> str:
        return f"the folder {self._folder.name!r}"

    def files(self, folder: str) -> dict[str, int]:
        """Return the files anywhere under a folder, and their bytes."""
        found: dict[str, int] = {}
        try:
            for place, _, names in os.walk(self._folder / folder, onerror=_raise):
                for name in names:
                    path = Path(place, name)
                    try:
                        status = path.lstat()
                    except FileNotFoundError:  # who wrote it has just given it its name
                        continue
                    if stat.S_ISREG(status.st_mode):
                        found[path.relative_to(self._folder).as_posix()] = status.st_size
        except (OSError, ValueError) as error:
            raise self._failure("cannot be listed", error) from error
        return found

    def read(self, path: str, n_bytes: int) -> Iterator[bytes]:
        """Return a file's contents, in parts."""
        try:
            file = open_regular(self._folder / path)
        except (FileNotFoundError, ValueError):
            raise SessionFormatError(f"{path} is missing there") from None
        with file:
            size = os.fstat(file.fileno()).st_size
            if size != n_bytes:
                raise SessionFormatError(
                    f"{path} is damaged: it has {size:,} bytes where {n_bytes:,} should be"
                )
            while n_bytes > 0:
                try:
                    data = file.read(min(n_bytes, CHUNK))
                except OSError as error:
                    raise self._failure(f"could not read {path}", error) from error
                if not data:
                    raise SessionFormatError(f"{path} became shorter while it was read")
                n_bytes -= len(data)
                yield data

    def write(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        make_private_folder(self._folder)
        target = self._folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failure(f"could not make the folder of {path}", error) from error
        write_atomically(target, [data], private=False)

    def _failure(self, what: str, error: BaseException) -> SessionRemoteError:
        why = (isinstance(error, OSError) and error.strerror) or error
        return SessionRemoteError(f"{self} {what}: {why}. What is here is as it was")


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
