"""A progress bar with the time left, where a terminal or a notebook shows it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .errors import ParameterError

__all__ = ["Progress", "check_progress", "tracked"]

Progress = bool | Callable[[int, int], object] | None


def check_progress(progress: Progress) -> None:
    """Check the argument ``progress`` of a function that takes long.

    Raises
    ------
    ParameterError
        When it is neither None, True, False nor callable.
    """
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise ParameterError(
            f"progress={progress!r} must be True, False, None for a bar where a terminal or a "
            "notebook shows it, or a function of what is done and the total"
        )


@contextmanager
def tracked(
    progress: Progress, total: int, what: str, unit: str, *, is_bytes: bool = False
) -> Iterator[Callable[[int], None]]:
    """Show how far something is.

    Parameters
    ----------
    progress : bool or callable, optional
        A bar, or none; None for a bar where a terminal or a notebook shows it. A function is called
        with what is done and the total, from 0 on.
    total : int
    what, unit : str
        As they are shown, such as ``"cases"`` and ``"case"``.
    is_bytes : bool
        Whether units are bytes, shown as kB or MB.

    Yields
    ------
    callable
        To be called with the number of units that were done since.
    """
    check_progress(progress)
    if callable(progress) and not isinstance(progress, bool):
        report, done = progress, 0
        report(0, total)

        def advance(n: int) -> None:
            nonlocal done
            done += n
            report(done, total)

        yield advance
    elif progress or (progress is None and _is_shown()):
        from tqdm.auto import tqdm  # it takes a while to import

        with tqdm(total=total, desc=what, unit=unit, unit_scale=is_bytes) as bar:
            yield lambda n: bar.update(n) and None
    else:
        yield lambda _: None


def _is_shown() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return sys.stderr.isatty() or "IPKernelApp" in getattr(shell, "config", ())
