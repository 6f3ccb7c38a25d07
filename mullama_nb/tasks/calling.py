"""A call as bytes: packed here, carried out in another process, and its outcome unpacked here.

Functions and classes travel by name: the other process imports them. Those of a notebook or script
have no name there; cloudpickle, where it is installed (as with Dask), sends such a one whole.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any

from ..errors import MullamaError, TaskError, shown

__all__ = ["RemoteError", "carried_out", "outcome", "packed"]

_RETURNED, _RAISED = b"=", b"!"


class RemoteError(Exception):
    """The cause of an exception from another process: its traceback there, as text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def packed(function: Callable[..., Any], *values: Any, **keywords: Any) -> bytes:
    """Return a call as bytes for another process.

    Raises
    ------
    CopyError
        When it holds a live object, such as a chat.
    TaskError
        When it cannot be pickled for another reason.
    """
    return _packed((function, values, keywords))


def _packed(value: object) -> bytes:
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


def carried_out(data: bytes) -> bytes:
    """Run a packed call; return what it returned, or the exception that it raised, as bytes."""
    try:
        function, values, keywords = _unpacked(data)
        return _RETURNED + _packed(function(*values, **keywords))
    except (Exception, SystemExit) as error:
        return _RAISED + _packed_error(error)


def _unpacked(data: bytes) -> Any:
    try:
        return pickle.loads(data)
    except (AttributeError, ImportError) as error:
        raise TaskError(
            f"what the task needs is not here: {type(error).__name__}: {shown(str(error), 300)}. "
            "Functions and classes must be importable in every worker: put them into a module "
            "that is installed there; or install cloudpickle, which sends those of a notebook "
            "or script whole"
        ) from error


def _packed_error(error: Exception | SystemExit) -> bytes:
    trace = "".join(traceback.format_exception(error))
    try:
        if isinstance(error, SystemExit):  # of the task, and not of who waits for it
            raise TypeError
        data = _pickled((error, trace))
        pickle.loads(data)
    except Exception:  # one with arguments of its own kind: then its text is what there is
        data = _pickled((TaskError(f"{type(error).__name__}: {error}"), trace))
    return data


def outcome(data: bytes) -> Any:
    """Return what a call that was carried out elsewhere returned.

    Raises
    ------
    Exception
        What it raised; the cause has its traceback as text.
    """
    value = pickle.loads(data[1:])
    if data[:1] == _RETURNED:
        return value
    error, trace = value
    error.__cause__ = RemoteError(trace)
    raise error
