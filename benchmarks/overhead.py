"""What a task costs beside its work, through a pool of spawned processes and through Dask.

Tasks do nothing. They go through ``run_all``, as those of suites and explorations do: one after the
other, which shows the way there and back, and many at once, which shows what each adds for the one
process that hands them out. Bytes that a task carries show how fast rows travel.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from mullama_nb.tasks.pool import SpawnedPool
from mullama_nb.tasks.running import run_all

from .fitting import Fit, fit
from .pairing import Stopwatch
from .report import Effort

__all__ = ["EXECUTORS", "Overhead", "dask", "measure", "spawned"]

_WORKERS = 2
_ALONE = 20
_TOGETHER = 200
_PAYLOADS = (0, 1 << 20, 4 << 20, 8 << 20)


@dataclass(frozen=True)
class Overhead:
    """Of one executor.

    Attributes
    ----------
    alone : float
        Seconds from handing a task out to its result, with nothing else under way.
    together : float
        Seconds that each of many tasks adds.
    carrying : Fit
        Seconds of a task that carries bytes: 1, and the bytes.
    """

    alone: float
    together: float
    carrying: Fit


def nothing(_: object) -> None:
    """Do nothing; a function that another process finds by its name."""


@contextlib.contextmanager
def spawned() -> Iterator[Executor]:
    """Two spawned processes."""
    with SpawnedPool(_WORKERS) as pool:
        yield pool


@contextlib.contextmanager
def dask() -> Iterator[Executor]:
    """A scheduler and two workers on this machine, each a process of its own."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=_WORKERS,
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,  # of connections that end with it
        ) as cluster,
        Client(cluster) as client,  # type: ignore[no-untyped-call]
        client.get_executor() as executor,
    ):
        yield executor


EXECUTORS: Mapping[str, Callable[[], contextlib.AbstractContextManager[Executor]]] = {
    "spawned processes": spawned,
    "Dask": dask,
}


def _seconds(executor: Executor, tasks: list[bytes]) -> float:
    """Seconds for each of them."""
    with Stopwatch() as watch:
        for _, outcome in run_all(nothing, tasks, executor):
            if outcome is not None:
                raise outcome
    return watch.seconds / len(tasks)


def measure(executor: Executor, effort: Effort) -> Overhead:
    """Measure one executor, whose workers are there."""
    _seconds(executor, [b""] * 4 * _WORKERS)  # each of them has imported what it needs
    alone = statistics.median(_seconds(executor, [b""]) for _ in range(effort.shortened(_ALONE)))
    together = statistics.median(
        _seconds(executor, [b""] * effort.shortened(_TOGETHER)) for _ in range(effort.rounds)
    )
    sizes = [effort.shortened(n) if n else 0 for n in _PAYLOADS]
    carrying = [
        statistics.median(_seconds(executor, [bytes(n)]) for _ in range(min(5, effort.rounds)))
        for n in sizes
    ]
    return Overhead(alone, together, fit([(1.0, n) for n in sizes], carrying))
