"""Writing a document of a conversation to a file."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ParameterError
from ..state.atomic import write_atomically

__all__ = ["write_text"]


def write_text(path: str | os.PathLike[str], ending: str, text: str) -> None:
    """Write a text to a file, whole or not at all.

    Parameters
    ----------
    path : str or path
    ending : str
        What its name has to end in, such as ``".svg"``.
    text : str

    Raises
    ------
    ParameterError
        When it ends otherwise.
    SessionWriteError
        When it cannot be written.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() != ending:
        raise ParameterError(f"cannot write {target.name!r}: its ending must be {ending}")
    write_atomically(target, [text.encode()])
