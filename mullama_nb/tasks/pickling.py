"""Tasks and results as bytes.

Functions and classes travel by name: the other process imports them. One that is defined in a
notebook or script has no name there; cloudpickle, where it is installed (as with Dask), sends such
a one whole.
"""

from __future__ import annotations

import pickle
import traceback
from typing import Any

from ..errors import MullamaError, TaskError, shown

__all__ = ["RemoteError", "packed", "packed_error", "unpacked"]


class RemoteError(Exception):
    """The cause of an exception from another process: its traceback there, as text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def packed(value: object) -> bytes:
    """Return a value as bytes for another process.

    Raises
    ------
    CopyError
        When it holds a live object, such as a chat.
    TaskError
        When it cannot be pickled for another reason.
    """
    try:
        return _pickled(value)
    except MullamaError:
        raise
    except Exception as error:  # what pickling runs may raise anything
        raise TaskError(
            f"it cannot be sent to another process: {type(error).__name__}: "
            f"{shown(str(error), 300)}. Functions must be importable there: put them into a "
            "module; or install cloudpickle, which sends those of a notebook whole"
        ) from error


def _pickled(value: object) -> bytes:
    try:
        import cloudpickle
    except ImportError:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    data: bytes = cloudpickle.dumps(value)
    return data


def unpacked(data: bytes) -> Any:
    """Return the value of :func:`packed`."""
    return pickle.loads(data)


def packed_error(error: BaseException) -> bytes:
    """Return an exception with its traceback as bytes; its text alone if it cannot be pickled."""
    trace = "".join(traceback.format_exception(error))
    try:
        data = _pickled((error, trace))
        unpacked(data)
    except Exception:
        data = _pickled((_in_words(error), trace))
    return data


def _in_words(error: BaseException) -> TaskError:
    return TaskError(f"{type(error).__name__}: {error}")
