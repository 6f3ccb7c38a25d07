"""What is known of the executors that people have: how many workers, and how one is lost."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from typing import Any

from .. import machine
from ..errors import WorkerLostError
from .pool import SpawnedPool

__all__ = ["Lost", "Workers", "lost", "submit", "workers_of"]

_SECONDS_TO_ANSWER = 10


@dataclass(frozen=True)
class Workers:
    """How many tasks an executor runs at the same time.

    Attributes
    ----------
    total : int
    on_a_machine : int
        The most that share one machine, and so its CPUs.
    may_grow : bool
        Whether more may join.
    """

    total: int
    on_a_machine: int
    may_grow: bool = False


@dataclass(frozen=True)
class Lost:
    """The worker of a task is gone.

    Attributes
    ----------
    reason : str
    was_repeated : bool
        Whether the executor itself has given the task to another one already.
    """

    reason: str
    was_repeated: bool = False


def workers_of(executor: Executor) -> Workers:
    """Return how many workers an executor has, as far as it says.

    A pool of processes or threads says how many it may have; a Dask client asks its scheduler for
    the threads of all workers, by host; of ipyparallel's engines each says where it is. Of any
    other executor one worker for each usable CPU is assumed.
    """
    if _is_a(executor, "distributed.cfexecutor", "ClientExecutor"):
        return _of_dask(executor)
    if _is_a(executor, "ipyparallel.client.view", "ViewExecutor"):
        return _of_ipyparallel(executor)
    if isinstance(executor, SpawnedPool):
        return Workers(executor.n_workers, executor.n_workers)
    n_workers = getattr(executor, "_max_workers", None)
    if not isinstance(n_workers, int) or n_workers < 1:
        n_workers = machine.here.cpus.usable
    return Workers(n_workers, n_workers)


def _of_dask(executor: Any) -> Workers:
    hosts: Counter[str] = Counter()
    for address, n_threads in executor._client.nthreads().items():
        hosts[address.rpartition(":")[0]] += n_threads
    return Workers(max(1, sum(hosts.values())), max([1, *hosts.values()]), may_grow=True)


def _of_ipyparallel(executor: Any) -> Workers:
    view = executor.view
    targets = view.targets if view.targets is not None else view.client.ids
    n_engines = max(1, len(targets) if isinstance(targets, list) else 1)
    try:
        asked = view.client[targets].apply_async(platform.node)
        hosts = Counter(asked.get(_SECONDS_TO_ANSWER))
    except Exception:  # they are busy: then let all be on one machine
        return Workers(n_engines, n_engines)
    return Workers(n_engines, max(hosts.values()))


def submit(executor: Executor, function: Callable[..., bytes], *values: object) -> Future[Any]:
    """Submit a call that is to run, even if an equal one has run before."""
    if _is_a(executor, "distributed.cfexecutor", "ClientExecutor"):
        return executor.submit(function, *values, pure=False)
    return executor.submit(function, *values)


def lost(error: Exception) -> Lost | None:
    """Return how a worker was lost, if that is what an executor's error says."""
    reason = f"its worker was lost ({type(error).__name__}: {error})"
    if isinstance(error, (BrokenExecutor, WorkerLostError)) or _is_a(
        error, "ipyparallel.error", "EngineError"
    ):
        return Lost(reason)
    if _is_a(error, "distributed.scheduler", "KilledWorker"):
        return Lost(reason, was_repeated=True)
    return None


def _is_a(value: object, module: str, name: str) -> bool:
    """Whether a value is of a class of a package that is an extra; nothing is imported for that."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)
