"""How errors look in IPython: where the user's code went wrong, without the way inside.

``%xmode Verbose`` shows all of the next error, and ``%tb`` of the last one. Outside of IPython a
traceback is Python's own.
"""

from __future__ import annotations

import functools
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["render_in_one_line", "short_traceback"]

_PACKAGE = f"{Path(__file__).parent}{Path('/')}"
_LIBRARIES = tuple(
    f"{path}{Path('/')}" for path in {*sysconfig.get_paths().values()} if Path(path).is_dir()
)
_WHOLE = "Verbose"  # a mode of IPython's tracebacks


def short_traceback(error: BaseException) -> list[str]:
    """Return the lines that IPython shows of an error, without frames of this package.

    Frames of libraries that the package called are left out, too; those of callbacks stay.
    """
    shell = _shell()
    if shell is None:
        return traceback.format_exception(error)
    trace, show = error.__traceback__, shell.InteractiveTB
    if show.mode == _WHOLE:
        return list(show.structured_traceback(type(error), error, trace))
    kept = [frame for frame, is_inside in _frames(trace) if not is_inside]
    short: TracebackType | None = None
    for frame in reversed(kept):
        short = TracebackType(short, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    with _without_inner_causes(error):
        return list(show.structured_traceback(type(error), error, short))


def render_in_one_line(error: BaseException, line: str) -> None:
    """Have IPython show one line of an interrupt, which is no mistake in any code."""
    error._render_traceback_ = functools.partial(_one_line, line)  # type: ignore[attr-defined]


def _one_line(line: str) -> list[str]:
    shell = _shell()
    if shell is not None and shell.InteractiveTB.mode == _WHOLE:
        error = sys.exc_info()[1] or getattr(sys, "last_value", None)
        if error is not None:
            whole = (type(error), error, error.__traceback__)
            return list(shell.InteractiveTB.structured_traceback(*whole))
    return [line]


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def _frames(trace: TracebackType | None) -> Iterator[tuple[TracebackType, bool]]:
    """Each frame, outermost first, and whether it is the package's or of what that called."""
    is_inside = False
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        is_library = name.startswith(_LIBRARIES) or name.startswith("<frozen")
        is_inside = name.startswith(_PACKAGE) or (is_inside and is_library)
        yield trace, is_inside
        trace = trace.tb_next


@contextmanager
def _without_inner_causes(error: BaseException) -> Iterator[None]:
    """Hide in the block what errors were raised from, as far as that happened inside."""
    hidden = []
    at: BaseException | None = error
    while at is not None:
        cause = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
        if cause is not None and next((inside for _, inside in _frames(cause.__traceback__)), True):
            hidden.append((at, at.__cause__, at.__context__, at.__suppress_context__))
            at.__cause__ = at.__context__ = None
            break
        at = cause
    try:
        yield
    finally:
        for at, cause, context, suppresses in hidden:
            at.__cause__, at.__context__ = cause, context
            at.__suppress_context__ = suppresses
