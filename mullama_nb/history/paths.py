"""Paths through a tree at a cost per step, independent of the length of the path."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from ..checks import check_integer

__all__ = ["Redo", "Totals", "check_steps"]

T = TypeVar("T")


def check_steps(n: int) -> int:
    """Return a number of steps.

    Raises
    ------
    ParameterError
        When it is not a valid number of steps.
    """
    return check_integer("n", n, 1)


class Redo(Generic[T]):
    """The path of ``redo``: a checkpoint, and the rest.

    It is immutable, so that it can be kept and restored without a copy.

    Attributes
    ----------
    checkpoint
    rest : Redo or None
    n : int
        Number of steps, including this one.
    """

    __slots__ = ("__weakref__", "checkpoint", "n", "rest")

    def __init__(self, checkpoint: T, rest: Redo[T] | None) -> None:
        self.checkpoint = checkpoint
        self.rest = rest
        self.n: int = 1 + (0 if rest is None else rest.n)

    @classmethod
    def of(cls, way: Sequence[T]) -> Redo[T] | None:
        """Return the path over checkpoints, in the order of redo."""
        redo = None
        for checkpoint in reversed(way):
            redo = cls(checkpoint, redo)
        return redo

    def __iter__(self) -> Iterator[T]:
        at: Redo[T] | None = self
        while at is not None:
            yield at.checkpoint
            at = at.rest


class Totals(Generic[T]):
    """Cached sums along chains.

    Parameters
    ----------
    step : callable
        Returns a place's share and the place before it; None where the chain begins.
    """

    def __init__(self, step: Callable[[T], tuple[int, T | None]]) -> None:
        self._step = step
        self._edition: object = None
        self._known: weakref.WeakKeyDictionary[T, int] = weakref.WeakKeyDictionary()

    def at(self, place: T | None, edition: object) -> int:
        """Return the sum up to a place; 0 for None.

        Parameters
        ----------
        place
        edition
            A value that changes whenever the results of ``step`` may change.
        """
        if edition != self._edition:
            self._known = weakref.WeakKeyDictionary()
            self._edition = edition
        new: list[tuple[T, int]] = []
        total = 0
        while place is not None:
            known = self._known.get(place)
            if known is not None:
                total = known
                break
            n, before = self._step(place)
            new.append((place, n))
            place = before
        for each, n in reversed(new):
            total += n
            self._known[each] = total
        return total
