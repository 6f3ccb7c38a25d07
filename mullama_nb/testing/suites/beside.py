"""The files that a suite's file names: recordings and chat templates, whose texts results show."""

from __future__ import annotations

from pathlib import Path

from ...errors import ParameterError, shown

__all__ = ["beside"]


def beside(folder: Path, name: str) -> Path:
    """Return the path of a file that a suite names: in the suite's folder, or below.

    A suite may be a stranger's, and what it reads elsewhere would be shown with its results.

    Parameters
    ----------
    folder : Path
    name : str

    Raises
    ------
    ParameterError
        When it lies elsewhere, or a link leads elsewhere.
    """
    path = folder.absolute() / name
    try:
        is_inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle; a text that names no file
        is_inside = False
    if not is_inside:
        raise ParameterError(
            f"{shown(repr(name))} lies outside the suite's folder, where a file from somebody else "
            "must not read: put it into the folder, or make the suite in Python"
        )
    return path
