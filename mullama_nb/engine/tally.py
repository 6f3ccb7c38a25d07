"""Tallies: how many tokens llama.cpp was given to evaluate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Tallies", "Tally", "new_tally", "tallied"]


class Tally:
    """The count of one context, whatever its tokens were evaluated for.

    Attributes
    ----------
    n_tokens : int
    """

    __slots__ = ("n_tokens",)

    def __init__(self) -> None:
        self.n_tokens = 0


class Tallies:
    """The counts of several contexts, from when each was added."""

    def __init__(self) -> None:
        self._begun: list[tuple[Tally, int]] = []

    def add(self, tally: Tally) -> None:
        """Count what is evaluated from now on in a context, too."""
        self._begun.append((tally, tally.n_tokens))

    @property
    def n_tokens(self) -> int:
        """The tokens that were evaluated since."""
        return sum(tally.n_tokens - before for tally, before in self._begun)


_counting: ContextVar[Tallies | None] = ContextVar("counting", default=None)


def new_tally() -> Tally:
    """Return the tally of a new context, counted by who counts in this thread."""
    tally, counting = Tally(), _counting.get()
    if counting is not None:
        counting.add(tally)
    return tally


@contextmanager
def tallied() -> Iterator[Tallies]:
    """Count the tokens of the contexts that are made in the block, by this thread."""
    tallies = Tallies()
    token = _counting.set(tallies)
    try:
        yield tallies
    finally:
        _counting.reset(token)
