"""Running a function over many tasks, here or on an executor."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from ..checks import check_integer
from ..engine.threads.lock import CancelToken, interrupts_held
from ..errors import MullamaError, TaskError, WorkerLostError
from . import worker
from .calling import carried_out, outcome, packed
from .executors import Lost, Workers, check_executor, has_workers, lost, submit, workers_of
from .pool import SpawnedPool

__all__ = ["call_packed", "run_all"]

T = TypeVar("T")
R = TypeVar("R")

_SECONDS_TO_LOOK = 2.0  # between two looks whether anybody is there
_SECONDS_WITHOUT_WORKERS = 300.0  # of a cluster that starts others by itself
_SECONDS_TO_RECOUNT = 1.0  # a cluster that grows with its work is asked again


def run_all(
    function: Callable[[T], R],
    tasks: Iterable[T],
    executor: Executor | None = None,
    *,
    n_workers: int | None = None,
    cancel: CancelToken | None = None,
) -> Generator[tuple[int, R | Exception], None, None]:
    """Run a function over tasks, and return what comes of them as it comes.

    Few tasks are submitted ahead, in order: neighbours, which may share a prefix, run on workers
    that have it, and little is lost by an end in the middle. A task whose worker is lost is
    submitted once more. Closing the iterator, or an interrupt, cancels what has not begun.

    Parameters
    ----------
    function : callable
        Takes a task. Where an executor is given, both must be picklable.
    tasks : iterable
    executor : Executor, optional
        None: this process, in order.
    n_workers : int, optional
        How many tasks the executor runs at the same time; they share the machine's CPUs. None: as
        :func:`~mullama_nb.tasks.executors.workers_of` finds.
    cancel : CancelToken, optional
        Ends it as closing the iterator does, also while it waits; what has come by then is yielded.

    Yields
    ------
    (int, object)
        The index of a task, and what the function returned, or the exception that it raised: others
        go on. A ``TaskError`` where the task could not be sent, a ``WorkerLostError`` where its
        worker was lost twice.

    Raises
    ------
    ParameterError
        When the executor is none, or its processes are forks of this one.
    TaskError
        When the executor takes no more tasks; what came before holds.
    """
    cancel = CancelToken() if cancel is None else cancel
    if executor is None:
        return _here(function, tasks, cancel)
    check_executor(executor)
    workers = workers_of(executor)
    if n_workers is not None:
        n_workers = check_integer("n_workers", n_workers, 1)
        workers = Workers(n_workers, n_workers, ahead=workers.ahead)
    if not isinstance(executor, ThreadPoolExecutor):
        packed(function)  # at once: no task could be sent
    return _elsewhere(function, tasks, executor, workers, cancel)


def _here(
    function: Callable[[T], R], tasks: Iterable[T], cancel: CancelToken
) -> Generator[tuple[int, R | Exception], None, None]:
    try:
        for index, task in enumerate(tasks):
            if cancel.is_cancelled:
                return
            yield index, _outcome(function, task)
    finally:
        worker.forget()


def _outcome(function: Callable[[T], R], task: T) -> R | Exception:
    try:
        return function(task)
    except Exception as error:
        return error


def _elsewhere(
    function: Callable[[T], R],
    tasks: Iterable[T],
    executor: Executor,
    workers: Workers,
    cancel: CancelToken,
) -> Generator[tuple[int, R | Exception], None, None]:
    upcoming = enumerate(tasks)
    again: deque[tuple[int, T]] = deque()
    pending: dict[Future[Any], tuple[int, T]] = {}
    ended: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()
    lost_once: set[int] = set()
    counted = time.monotonic()
    watch = _Watch(executor, _SECONDS_WITHOUT_WORKERS if workers.may_grow else 0.0)

    def wake() -> None:
        ended.put(None)

    cancel.add_listener(wake)
    try:
        while not cancel.is_cancelled:
            if workers.may_grow and time.monotonic() - counted > _SECONDS_TO_RECOUNT:
                workers, counted = workers_of(executor), time.monotonic()
            while len(pending) < workers.ahead * workers.total:
                if (one := again.popleft() if again else next(upcoming, None)) is None:
                    break
                index, task = one
                try:
                    call = _packed_call(function, task, executor, workers)
                except MullamaError as error:
                    yield index, error
                    continue
                with interrupts_held():  # within a future's own code one would leave it locked
                    future = _submitted(executor, call)
                    pending[future] = one
                    future.add_done_callback(ended.put)
                del future  # Dask computes again what is still held when its worker is lost
            if not pending:
                return
            try:
                one_ended = ended.get(timeout=_SECONDS_TO_LOOK)  # None: it was cancelled
            except queue.Empty:
                watch.look()
                continue
            if one_ended is None:
                break
            index, task = pending.pop(one_ended)
            came = _outcome_of(one_ended, executor)
            del one_ended
            if isinstance(came, Lost):
                if index not in lost_once and not came.was_repeated:
                    lost_once.add(index)
                    again.append((index, task))
                    continue
                came = WorkerLostError(f"task {index} was given up: {came.reason}")
            yield index, came
        for one_ended in [future for future in pending if future.done()]:  # what came by then
            index, _ = pending.pop(one_ended)
            if not isinstance(came := _outcome_of(one_ended, executor), Lost):
                yield index, came
    finally:
        with interrupts_held():
            cancel.remove_listener(wake)
            for future in pending:
                _cancel(future, executor)
        if isinstance(executor, ThreadPoolExecutor):  # of this process, as here
            worker.forget()


class _Watch:
    """Gives an executor up that has had no worker for so many seconds."""

    def __init__(self, executor: Executor, patience: float) -> None:
        self._executor, self._patience = executor, patience
        self._deserted: float | None = None

    def look(self) -> None:
        if has_workers(self._executor):
            self._deserted = None
            return
        self._deserted = self._deserted or time.monotonic()
        if time.monotonic() - self._deserted >= self._patience:
            raise TaskError(
                f"no worker of {type(self._executor).__name__} is left: see why they ended, and "
                "start others. What came before holds"
            )


def _packed_call(
    function: Callable[[T], R], task: T, executor: Executor, workers: Workers
) -> tuple[Callable[..., Any], Any, int]:
    if isinstance(executor, ThreadPoolExecutor):
        return _call_in_thread, (function, task), workers.on_a_machine
    return call_packed, packed(function, task), workers.on_a_machine


def _submitted(executor: Executor, call: tuple[Callable[..., Any], Any, int]) -> Future[Any]:
    try:
        return submit(executor, *call)
    except Exception as error:
        advice = ""
        if isinstance(error, BrokenProcessPool):
            advice = (
                ". A ProcessPoolExecutor ends as a whole when one of its processes dies; "
                "mullama_nb.SpawnedPool replaces that one"
            )
        raise TaskError(
            f"{type(executor).__name__} takes no more tasks: {type(error).__name__}: {error}"
            f"{advice}. What came before holds"
        ) from error


def _cancel(future: Future[Any], executor: Executor) -> None:
    if isinstance(executor, SpawnedPool):
        executor.abandon(future)  # what runs, too
    else:
        future.cancel()


def _call_in_thread(call: tuple[Callable[[T], R], T], n_workers: int) -> R | Exception:
    with worker.running_elsewhere(n_workers):
        return _outcome(*call)


def call_packed(data: bytes, n_workers: int) -> bytes:
    """Run a packed task in a worker's process, as one of several on its machine."""
    with worker.running_elsewhere(n_workers):
        return carried_out(data)


def _outcome_of(future: Future[Any], executor: Executor) -> Any:
    """What a task gave, the exception that it raised, or that its worker is lost."""
    try:
        came = future.result()
    except Exception as error:
        return lost(error) or TaskError(
            f"{type(executor).__name__} could not run it: {type(error).__name__}: {error}"
        )
    finally:
        del future  # the error's traceback has this frame
    if isinstance(executor, ThreadPoolExecutor):
        return came
    return _outcome(outcome, came)
