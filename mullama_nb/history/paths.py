"""Ways through a tree whose cost is that of the step, however long the path behind it is."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from .checkpoint import Checkpoint

__all__ = ["Redo", "Totals", "common_ancestor"]

T = TypeVar("T")


def common_ancestor(a: Checkpoint, b: Checkpoint) -> Checkpoint:
    """The last checkpoint that two paths share; takes steps as far as the longer way to it.

    Both ways are followed upwards in turns until one meets what the other has passed. Ancestors
    are passed in order, so that what is met first is the last one that is shared.
    """
    passed_a: dict[Checkpoint, None] = {}
    passed_b: dict[Checkpoint, None] = {}
    at_a: Checkpoint | None = a
    at_b: Checkpoint | None = b
    while at_a is not None or at_b is not None:
        if at_a is not None:
            passed_a[at_a] = None
            if at_a in passed_b:
                return at_a
            at_a = at_a.parent
        if at_b is not None:
            passed_b[at_b] = None
            if at_b in passed_a:
                return at_b
            at_b = at_b.parent
    raise ValueError(f"{a!r} and {b!r} are in different trees")


class Redo:
    """The way that ``redo`` takes: a checkpoint, and what comes after it.

    It never changes, so that who may have to return to it need not copy it.

    Attributes
    ----------
    checkpoint : Checkpoint
    rest : Redo or None
    n : int
        Steps, this one included.
    """

    __slots__ = ("__weakref__", "checkpoint", "n", "rest")

    def __init__(self, checkpoint: Checkpoint, rest: Redo | None) -> None:
        self.checkpoint = checkpoint
        self.rest = rest
        self.n: int = 1 + (0 if rest is None else rest.n)

    @classmethod
    def of(cls, way: Sequence[Checkpoint]) -> Redo | None:
        """A way over checkpoints in the order in which they would be gone to."""
        redo = None
        for checkpoint in reversed(way):
            redo = cls(checkpoint, redo)
        return redo

    def __iter__(self) -> Iterator[Checkpoint]:
        at: Redo | None = self
        while at is not None:
            yield at.checkpoint
            at = at.rest


class Totals(Generic[T]):
    """Numbers added up along chains, kept for every place that was asked for.

    Parameters
    ----------
    step : callable
        What a place adds, and the place before it; None where the chain begins.
    """

    def __init__(self, step: Callable[[T], tuple[int, T | None]]) -> None:
        self._step = step
        self._edition: object = None
        self._known: weakref.WeakKeyDictionary[T, int] = weakref.WeakKeyDictionary()

    def at(self, place: T | None, edition: object) -> int:
        """The sum up to a place; 0 for None.

        Parameters
        ----------
        place
        edition
            A value that differs once what ``step`` gives may be another.
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
