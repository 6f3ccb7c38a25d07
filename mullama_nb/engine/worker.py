"""Threads: one that decodes, a lock that starves nobody, and interrupts kept out of half-done work.

A ``KeyboardInterrupt`` arrives between any two bytecodes of the main thread. Decoding therefore
runs on a worker thread while the main thread only waits, and the short changes that run on the
caller's thread hold interrupts back until they are complete.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from types import FrameType
from typing import Any, TypeVar

from ..errors import ContextError

__all__ = [
    "WAIT_SECONDS",
    "FairLock",
    "GivenUp",
    "Worker",
    "decoding",
    "give_up_when",
    "interrupts_held",
]

T = TypeVar("T")

WAIT_SECONDS = 0.1
"""Waits are cut into pieces: on Windows an interrupt does not end a wait."""


@contextlib.contextmanager
def interrupts_held() -> Iterator[list[int]]:
    """Hold back SIGINT until the block is left; yields the list of those that came.

    Only the main thread receives interrupts, so elsewhere this does nothing.
    """
    pending: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return
    last_frame: list[FrameType | None] = [None]

    def hold(number: int, frame: FrameType | None) -> None:
        if previous != signal.SIG_IGN:
            last_frame[0] = frame
            pending.append(number)

    previous = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, hold)
    try:
        yield pending
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if previous is None else previous)
        if pending:
            if callable(previous):
                previous(signal.SIGINT, last_frame[0])
            else:
                signal.raise_signal(signal.SIGINT)


class FairLock:
    """A re-entrant lock that is handed to whoever waits.

    Python's own lock can be taken again and again by a loop that releases it in between, as a
    generation does at each token. Here a waiter holds the turnstile that the loop must pass.
    """

    def __init__(self) -> None:
        self._turnstile = threading.Lock()
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._depth = 0

    def held(self) -> contextlib.AbstractContextManager[object]:
        """Hold the lock, with interrupts held back while it is held."""
        if threading.current_thread() is threading.main_thread():
            return self._held_without_interrupts()
        return self

    @contextlib.contextmanager
    def _held_without_interrupts(self) -> Iterator[None]:
        with interrupts_held() as pending:
            self._enter(pending)
            try:
                yield
            finally:
                self._leave()

    @contextlib.contextmanager
    def tried(self) -> Iterator[bool]:
        """Hold the lock if nobody does; yields whether that is so."""
        with interrupts_held():
            entered = self._lock.acquire(blocking=False)
            if entered:
                self._owner, self._depth = threading.get_ident(), 1
            try:
                yield entered
            finally:
                if entered:
                    self._leave()

    def __enter__(self) -> None:
        self._enter(())

    def __exit__(self, *_: object) -> None:
        self._leave()

    def is_mine(self) -> bool:
        """Whether the calling thread holds it."""
        return self._owner == threading.get_ident()

    def is_wanted(self) -> bool:
        """Whether somebody waits for it."""
        return self._turnstile.locked()

    def _enter(self, pending: Sequence[int]) -> None:
        me = threading.get_ident()
        if self._owner != me:
            for lock in (self._turnstile, self._lock):
                while not lock.acquire(timeout=WAIT_SECONDS):
                    if pending:
                        if lock is self._lock:
                            self._turnstile.release()
                        raise KeyboardInterrupt
            self._turnstile.release()
            self._owner = me
        self._depth += 1

    def _leave(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
            self._lock.release()


_order = threading.Lock()  # of what concerns all workers
_this_thread = threading.local()


class GivenUp(BaseException):
    """What a thread gets whose caller has given its job up, as the main thread an interrupt."""


@contextlib.contextmanager
def give_up_when(asked: Callable[[], bool] | None) -> Iterator[None]:
    """Have what this thread evaluates within raise ``GivenUp`` once it is asked to."""
    _this_thread.asked = asked
    try:
        yield
    finally:
        _this_thread.asked = None


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
        self._idents: list[int] = []
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
                begin = partial(_begin_thread, self._idents)
                self._executor = ThreadPoolExecutor(1, self._name, begin)
            self._last = future = self._executor.submit(job)
        return future

    def _rest(self) -> None:
        if self._executor is not None and (self._last is None or self._last.done()):
            self._executor.shutdown(wait=False)
            self._executor = self._last = None
            self._idents.clear()

    def is_current(self) -> bool:
        """Whether this is called on the worker's thread."""
        return threading.get_ident() in self._idents

    def wait(self, future: Future[T], stop: Callable[[], object]) -> T:
        """The result of a job; an interrupt stops the job and is raised once it has ended.

        Parameters
        ----------
        future : Future
        stop : callable
            Makes the job end soon.
        """
        interrupt: BaseException | None = None
        asked: Callable[[], bool] | None = getattr(_this_thread, "asked", None)
        # Futures wait in Python: an interrupt there may leave their lock taken for ever.
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
                    if interrupt is None and asked is not None and asked():
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


def _begin_thread(idents: list[int]) -> None:
    _this_thread.decodes = True
    idents[:] = [threading.get_ident()]
