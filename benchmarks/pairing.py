"""Measuring two or more ways to do the same work, so that noise hits all of them alike.

Times on a shared machine drift by more than what is to be measured. So the ways take turns: one
round runs each of them once, every other round in reverse order, and what counts is the median over
rounds of the ratio within a round.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Hosted", "Race", "Spread", "Stopwatch", "hosted", "race"]


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Race:
    """Seconds per unit of work, by way and round."""

    seconds: Mapping[str, Sequence[float]]

    @classmethod
    def joined(cls, races: Sequence[Race]) -> Race:
        """The rounds of several races between the same ways as one."""
        return cls({way: [s for r in races for s in r.seconds[way]] for way in races[0].seconds})

    def spread(self, way: str) -> Spread:
        """Seconds of one way."""
        return Spread.of(self.seconds[way])

    def speed(self, way: str, reference: str) -> Spread:
        """How many times as fast as the reference a way is, compared within each round."""
        pairs = zip(self.seconds[way], self.seconds[reference], strict=True)
        return Spread.of([other / own for own, other in pairs])


def race(ways: Mapping[str, Callable[[], float]], rounds: int) -> Race:
    """Let several ways take turns.

    Parameters
    ----------
    ways : mapping of str to callable
        Each prepares itself, does its work once, and returns the seconds that the work took.
    rounds : int
        Rounds that count. One more goes ahead to warm up, unless a single one is to show nothing.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1 if rounds > 1 else 0, rounds):
        order = list(ways)[:: 1 if number % 2 else -1]
        for name in order:
            taken = ways[name]()
            if number >= 0:
                seconds[name].append(taken)
    return Race(seconds)


class Stopwatch:
    """``with Stopwatch() as watch: ...``, then ``watch.seconds``; the garbage collector waits."""

    seconds = 0.0

    def __enter__(self) -> Stopwatch:
        gc.collect()
        gc.disable()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        gc.enable()


class Hosted:
    """An object in a process of its own; made by :func:`hosted`.

    llama.cpp's threads belong to the thread that decodes, and two teams of them in one process slow
    each other down. So ways that decode must not share a process.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the object; what it returns or raises comes back."""
        self._connection.send((method, arguments))
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def way(self, method: str, *arguments: Any) -> Callable[[], float]:
        """A method of the object for :func:`race`."""
        return lambda: float(self.call(method, *arguments))


@contextlib.contextmanager
def hosted(make: Callable[..., object], *arguments: Any) -> Iterator[Hosted]:
    """Make an object in a fresh process, which ends with the block.

    Parameters
    ----------
    make : callable
        Importable by name.
    *arguments
        For ``make``.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Hosted(ours)
    finally:
        ours.close()
        process.join()


def _serve(connection: Connection, make: Callable[..., object], arguments: Sequence[Any]) -> None:
    instance = make(*arguments)
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        try:
            connection.send(getattr(instance, method)(*arguments))
        except Exception as error:
            connection.send(error)
