"""The executors that people have: how to make one, how many workers it has, how one is lost."""

from __future__ import annotations

import contextlib
import platform
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from typing import Any, cast

from .. import machine
from ..errors import ParameterError, TaskError, WorkerLostError, shown
from .pool import SpawnedPool

__all__ = [
    "Lost",
    "Workers",
    "check_executor",
    "executor_for",
    "has_workers",
    "lost",
    "submit",
    "workers_of",
]

_SECONDS_TO_ANSWER = 10


@dataclass(frozen=True)
class Workers:
    """How many tasks an executor runs at the same time.

    Attributes
    ----------
    total : int
    on_a_machine : int
        The most that share one machine, and so its CPUs.
    ahead : int
        How many tasks to submit for each: one that runs and one that is there when it ends; where
        a worker keeps what it computed until somebody fetches it, one, or it would be lost with
        the next.
    may_grow : bool
        Whether more may join.
    """

    total: int
    on_a_machine: int
    ahead: int = 2
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


def check_executor(executor: Executor) -> None:
    """Check that an executor does not fork this process.

    A fork has the locks of llama.cpp and OpenMP without the threads that would release them, and
    hangs at its first product.

    Raises
    ------
    ParameterError
    """
    if not isinstance(executor, Executor):
        raise ParameterError(
            f"executor={shown(executor)}: give an Executor of concurrent.futures, such as "
            "SpawnedPool(2), a ProcessPoolExecutor, or Dask's client.get_executor()"
        )
    context = getattr(executor, "_mp_context", None)
    method = getattr(context, "get_start_method", None)
    if method is not None and method() == "fork":
        raise ParameterError(
            f"the processes of this {type(executor).__name__} are forks of this one, in which "
            "llama.cpp would hang: make it with mp_context=multiprocessing.get_context('spawn'), "
            "or use mullama_nb.SpawnedPool"
        )


def _of_dask(executor: Any) -> Workers:
    hosts: Counter[str] = Counter()
    for address, n_threads in executor._client.nthreads().items():
        hosts[address.rpartition(":")[0]] += n_threads
    return Workers(max(1, sum(hosts.values())), max([1, *hosts.values()]), ahead=1, may_grow=True)


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
    if not _is_a(executor, "distributed.cfexecutor", "ClientExecutor"):
        return executor.submit(function, *values)
    with warnings.catch_warnings():
        # Its advice is to scatter what is sent, which an executor cannot.
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        return executor.submit(function, *values, pure=False)


def lost(error: Exception) -> Lost | None:
    """Return how a worker was lost, if that is what an executor's error says."""
    reason = f"its worker was lost: {type(error).__name__}: {error}"
    if isinstance(error, (BrokenExecutor, WorkerLostError)):
        return Lost(reason)
    if _is_a(error, "ipyparallel.error", "RemoteError"):
        return Lost(reason) if getattr(error, "ename", "") == "EngineError" else None
    if _is_a(error, "distributed.scheduler", "KilledWorker"):
        return Lost(reason, was_repeated=True)
    return None


def has_workers(executor: Executor) -> bool:
    """Return whether anybody is there for the tasks that an executor has taken."""
    if _is_a(executor, "distributed.cfexecutor", "ClientExecutor"):
        return bool(cast("Any", executor)._client.nthreads())
    if _is_a(executor, "ipyparallel.client.view", "ViewExecutor"):
        return bool(cast("Any", executor).view.client.ids)
    return True


@contextlib.contextmanager
def executor_for(workers: int | None = None, dask: str | None = None) -> Iterator[Executor | None]:
    """Make the executor that a command line asks for, and end it afterwards.

    Parameters
    ----------
    workers : int, optional
        The processes of a :class:`~mullama_nb.SpawnedPool`.
    dask : str, optional
        The address of a Dask scheduler, such as ``tcp://10.0.0.1:8786``.

    Yields
    ------
    Executor or None
        None: this process.

    Raises
    ------
    ParameterError
        When both are given, or the number is out of range.
    TaskError
        When the extra ``dask`` is not installed, or no scheduler answers.
    """
    if workers is not None and dask is not None:
        raise ParameterError(
            f"workers={workers} are processes of this machine, and dask={shown(dask)!r} has its "
            "own: give one of the two"
        )
    if workers is not None:
        with SpawnedPool(workers) as pool:
            yield pool
    elif dask is not None:
        with _dask_client(dask) as client:
            yield client.get_executor()
    else:
        yield None


def _dask_client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise TaskError(
            "tasks on Dask need the extra `dask`: pip install 'mullama-nb[dask]'"
        ) from error
    try:
        return Client(address, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise TaskError(
            f"no Dask scheduler answers at {shown(address)!r}: {shown(str(error), 200)}"
        ) from error


def _is_a(value: object, module: str, name: str) -> bool:
    """Whether a value is of a class of a package that is an extra; nothing is imported for that."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)
