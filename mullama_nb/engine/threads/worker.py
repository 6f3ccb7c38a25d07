"""The thread that decodes, and waiting for it.

A ``KeyboardInterrupt`` arrives between any two bytecodes of the main thread. Decoding therefore
runs on a worker thread while the main thread only waits.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from ...errors import ContextError
from .lock import WAIT_SECONDS, CancelToken, interrupts_held

__all__ = ["GivenUp", "Worker", "decoding", "give_up_when"]

T = TypeVar("T")

_order = threading.Lock()  # of what concerns all workers
_this_thread = threading.local()


class GivenUp(BaseException):
    """Raised in a thread whose caller has abandoned its job, as an interrupt elsewhere."""


@contextlib.contextmanager
def give_up_when(token: CancelToken | None) -> Iterator[None]:
    """Make evaluations of this thread in the block raise ``GivenUp`` on cancellation."""
    _this_thread.token = token
    try:
        yield
    finally:
        _this_thread.token = None


def decoding(job: Callable[[], T]) -> T:
    """Run a decode on this thread if it is a worker's, and else on one that ends with it.

    OpenMP makes a team of threads for each thread that decodes and keeps it until that one ends.
    With more of their threads than CPUs none waits awake for the next node of a graph any more (see
    :mod:`.openmp`), and every token in the process takes 1.4 times as long.
    """
    if getattr(_this_thread, "decodes", False):
        return job()
    with ThreadPoolExecutor(1, "mullama-passing") as pool:
        return pool.submit(job).result()


class Worker:
    """One thread that runs native calls in order, released from the GIL.

    It exists while there is something to do, and after that until another worker needs its own: see
    :func:`decoding`.

    Parameters
    ----------
    name : str
        Shown by debuggers.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._mark = object()  # on its threads: an id of a thread is used again once that has ended
        self._executor: ThreadPoolExecutor | None = None
        self._last: Future[Any] | None = None
        self._is_closed = False
        with _order:
            _workers.add(self)

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Queue a job; workers that have nothing to do end their threads.

        Raises
        ------
        ContextError
            When called from a callback that the worker itself runs: it would wait for itself.
        RuntimeError
            When the worker was closed.
        """
        if self.is_current():
            raise ContextError(
                "a callback of a running evaluation cannot evaluate on the same context; "
                "do it after the call has returned"
            )
        with interrupts_held(), _order:
            if self._is_closed:
                raise RuntimeError(f"the worker {self._name!r} was closed")
            for worker in list(_workers):
                if worker is not self:
                    worker._rest()
            if self._executor is None:
                # The thread keeps its initializer: one that knew this object would keep both.
                begin = partial(_begin_thread, self._mark)
                self._executor = ThreadPoolExecutor(1, self._name, begin)
            self._last = future = self._executor.submit(_letting_go(job))
        return future

    def _rest(self) -> None:
        if self._executor is not None and (self._last is None or self._last.done()):
            self._executor.shutdown(wait=False)
            self._executor = self._last = None

    def is_current(self) -> bool:
        """Return whether the caller is on the worker's thread."""
        return getattr(_this_thread, "mark", None) is self._mark

    def wait(self, future: Future[T], stop: Callable[[], object]) -> T:
        """Wait for the result of a job; an interrupt stops the job and is raised once it has ended.

        Parameters
        ----------
        future : Future
        stop : callable
            Makes the job end soon.
        """
        interrupt: BaseException | None = None
        token: CancelToken | None = getattr(_this_thread, "token", None)
        # Futures wait in Python: an interrupt there may leave their lock taken forever.
        ended: list[object] = []
        bell = threading.Lock()
        bell.acquire()
        is_awaited = is_stopped = False

        def note(_: object) -> None:
            ended.append(None)
            bell.release()

        while not ended:
            try:
                with interrupts_held():
                    if not is_awaited:
                        future.add_done_callback(note)
                        is_awaited = True
                    if interrupt is None and token is not None and token.is_cancelled:
                        interrupt = GivenUp()
                    if interrupt is not None and not is_stopped:
                        stop()
                        is_stopped = True
                bell.acquire(timeout=WAIT_SECONDS)
            except KeyboardInterrupt as error:
                interrupt, is_stopped = error, False
        with interrupts_held():
            try:
                result = future.result()
            except CancelledError:
                if interrupt is None:
                    raise
        if interrupt is not None:
            raise interrupt
        return result

    def rest(self) -> None:
        """End the thread until there is something to do."""
        with interrupts_held(), _order:
            self._rest()

    def close(self) -> None:
        """End the thread once its jobs are done."""
        with interrupts_held(), _order:
            self._is_closed = True
            if self._executor is not None:
                self._executor.shutdown(wait=False)


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


def _letting_go(job: Callable[[], T]) -> Callable[[], T]:
    """Return a job that holds nothing any more once its result is known.

    The thread of an executor has its job for a moment longer than whoever waits for the result: a
    context that was dropped then would keep its cells for that long.
    """
    held = [job]
    return lambda: held.pop()()


def _begin_thread(mark: object) -> None:
    _this_thread.decodes = True
    _this_thread.mark = mark
