"""How far a suite is: the time left, and how many have failed so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ...progress import Progress, tracked
from .cell import SuiteCell

__all__ = ["followed"]


@contextmanager
def followed(
    progress: Progress, total: int, stored: Iterable[SuiteCell] = (), *, name: str = "suite"
) -> Iterator[Callable[[SuiteCell], None]]:
    """Show how far a suite is, where a terminal or a notebook shows it.

    Parameters
    ----------
    progress : bool or callable, optional
        See :func:`mullama_nb.progress.tracked`.
    total : int
        Number of cells in all.
    stored : iterable of SuiteCell
        What an earlier run left; the bar begins there.
    name : str
        Of the suite.

    Yields
    ------
    callable
        To be called with each cell as it comes.
    """
    there = [*stored]
    n_failed = sum(not cell.passed for cell in there)
    with tracked(progress, total, name, "cell", done=len(there)) as advance:

        def come(cell: SuiteCell) -> None:
            nonlocal n_failed
            n_failed += not cell.passed
            advance(1, f"{n_failed} failed" if n_failed else "")

        yield come
