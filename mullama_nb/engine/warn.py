"""Warnings that point at the user's line, from any depth and any thread."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from types import FrameType
from typing import Any, NamedTuple

from ..errors import InexactWarning, MullamaWarning

__all__ = ["blamed_on_caller", "warn", "warn_inexact"]

# What stands between two of our functions, or between ours and a notebook's cell.
_PASSED_OVER = {__name__.partition(".")[0], "IPython", *sys.stdlib_module_names}


class _Line(NamedTuple):
    file: str
    number: int
    module: str
    registry: dict[Any, Any]  # of warnings that were shown

    @classmethod
    def of(cls, frame: FrameType) -> _Line:
        names = frame.f_globals
        registry = names.setdefault("__warningregistry__", {})
        return cls(frame.f_code.co_filename, frame.f_lineno, _module(frame), registry)


# A line and not a frame: that would keep what its variables hold.
_line_of_caller: ContextVar[_Line | None] = ContextVar("_line_of_caller", default=None)


def warn(message: str, category: type[MullamaWarning]) -> None:
    """Warn at the user's innermost line."""
    line = _users_line() or _line_of_caller.get() or _Line.of(sys._getframe(1))
    warnings.warn_explicit(message, category, *line)


def warn_inexact(what: str) -> None:
    """Warn that evaluating again gave rows that may differ in their last bits."""
    warn(
        f"{what}. What follows may differ in its last bits from the uninterrupted run, and with "
        "them now and then in a token",
        InexactWarning,
    )


@contextlib.contextmanager
def blamed_on_caller() -> Iterator[None]:
    """Make threads started with a copy of this context warn at the present line."""
    token = _line_of_caller.set(_users_line())
    try:
        yield
    finally:
        _line_of_caller.reset(token)


def _users_line() -> _Line | None:
    """The innermost line that is the user's; None where a thread of ours has none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _module(frame).partition(".")[0] not in _PASSED_OVER:
            return _Line.of(frame)
        frame = frame.f_back
    return None


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "<unknown>"))
