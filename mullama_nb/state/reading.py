"""Reading untrusted files."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from ..errors import SessionFormatError
from .layout import ByteArray

__all__ = ["fill", "open_regular"]


def open_regular(path: Path) -> io.FileIO:
    """Open a regular file for reading; not a folder, pipe or device.

    Raises
    ------
    FileNotFoundError
        When the path does not exist.
    SessionFormatError
        When it is not a regular file, or cannot be read.
    """
    try:
        file = io.FileIO(path, opener=_open_at_once)
    except FileNotFoundError:
        raise
    except OSError as error:
        name = path.name or repr(str(path))  # "." has no name
        raise SessionFormatError(f"{name} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise SessionFormatError(f"{path.name} is not a file that can hold a session")
    return file


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting: a pipe under this name must not block us."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def fill(array: ByteArray, file: io.FileIO | io.BytesIO, name: str) -> None:
    """Fill an array with the file's next bytes.

    Raises
    ------
    SessionFormatError
        When the file is too short, or cannot be read.
    """
    filled = 0
    while filled < array.size:
        try:
            n = file.readinto(array[filled:].data)
        except OSError as error:
            raise SessionFormatError(f"{name} cannot be read: {error.strerror}") from error
        if not n:
            raise SessionFormatError(f"{name} became shorter while it was read")
        filled += n
