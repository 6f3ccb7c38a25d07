"""A pool of spawned processes, of which each can be replaced."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import Any, TypeVar

from ..checks import check_integer
from ..engine.threads.lock import interrupts_held
from ..errors import TaskError, WorkerLostError
from .calling import outcome, packed
from .spawned import SpawnedProcess

__all__ = ["SpawnedPool"]

T = TypeVar("T")

_MOST_WORKERS = 1024


class SpawnedPool(Executor):
    """Processes on this machine that run one task each, as a ``concurrent.futures.Executor``.

    Unlike in a ``ProcessPoolExecutor``, a process that dies takes only the task with it that it was
    running, and is replaced. Processes are spawned, never forked, when a task first needs them; a
    script needs no ``if __name__ == "__main__"`` for that. They end with the pool, and with this
    process, however that ends.

    Parameters
    ----------
    n_workers : int
        The most processes; the threads of their contexts share the machine's CPUs.

    Raises
    ------
    ParameterError
        When the number is out of range.

    Examples
    --------
    >>> with SpawnedPool(2) as pool:
    ...     result = suite.run(pool)
    """

    def __init__(self, n_workers: int) -> None:
        self.n_workers = check_integer("n_workers", n_workers, 1, _MOST_WORKERS)
        self._shared = _Shared()
        self._threads: list[threading.Thread] = []
        # The threads know what is shared and not the pool, which can go while they wait.
        self._at_end = weakref.finalize(self, _Shared.kill, self._shared)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have a call run in one of the processes.

        Raises
        ------
        CopyError, TaskError
            When it cannot be pickled.
        RuntimeError
            After :meth:`shutdown`.
        """
        call = packed(fn, *args, **kwargs)
        future: Future[T] = Future()
        shared = self._shared
        with shared.changing():
            if shared.is_closed:
                raise TaskError("the pool was shut down and takes no more tasks")
            shared.waiting.append((future, call))
            if shared.n_idle < len(shared.waiting) and len(self._threads) < self.n_workers:
                name = f"mullama-worker-{len(self._threads)}"
                thread = threading.Thread(target=_work, args=(shared,), name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
            shared.changed.notify()
        return future

    def abandon(self, future: Future[Any]) -> None:
        """Cancel a task; if it is running, end its process, which is replaced."""
        with interrupts_held():
            if not future.cancel():
                self._shared.end_task(future)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and end the processes when those are done that were submitted.

        Parameters
        ----------
        wait : bool
            Whether to return only then; an interrupt ends them at once.
        cancel_futures : bool
            Whether to cancel those that have not begun.
        """
        self._shared.close(cancel=cancel_futures)
        if wait:
            try:
                self._join()
            except BaseException:
                self.kill()
                raise

    def kill(self) -> None:
        """Take no more tasks, and end the processes with what they run."""
        with interrupts_held():
            self._at_end()
        self._join()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.shutdown()
        else:  # nobody waits for a result any more
            self.kill()

    def __repr__(self) -> str:
        return f"SpawnedPool({self.n_workers})"


class _Shared:
    """What the pool and its threads share."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: deque[tuple[Future[Any], bytes]] = deque()
        self.running: dict[Future[Any], SpawnedProcess] = {}
        self.n_idle = 0
        self.is_closed = False
        self.is_killed = False
        self._process_id = os.getpid()

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock: an interrupt within a condition's own code would leave it locked."""
        with interrupts_held(), self.changed:
            yield

    def next(self) -> tuple[Future[Any], bytes] | None:
        """Wait for a task; None when none comes any more."""
        with self.changed:
            self.n_idle += 1
            self.changed.wait_for(lambda: self.waiting or self.is_closed)
            self.n_idle -= 1
            return self.waiting.popleft() if self.waiting else None

    def run(self, future: Future[Any], call: bytes, process: SpawnedProcess) -> bytes:
        """Run a task, which others may end meanwhile."""
        with self.changed:
            if self.is_killed:
                raise WorkerLostError("the pool was ended before the task began")
            self.running[future] = process
        try:
            return process.run(call)
        finally:
            with self.changed:
                del self.running[future]

    def end_task(self, future: Future[Any]) -> None:
        with self.changing():
            if future in self.running:
                self.running[future].kill()

    def close(self, *, cancel: bool) -> None:
        with self.changing():
            self.is_closed = True
            cancelled = [*self.waiting] if cancel else []
            if cancel:
                self.waiting.clear()
            self.changed.notify_all()
        with interrupts_held():
            for future, _ in cancelled:
                future.cancel()
                future.set_running_or_notify_cancel()  # whoever waits for it is told

    def kill(self) -> None:
        if os.getpid() != self._process_id:  # a fork has none of the threads
            return
        self.close(cancel=True)
        with self.changing():
            self.is_killed = True
            for process in self.running.values():
                process.kill()


def _work(shared: _Shared) -> None:
    """Give tasks to a process, and start another when it is gone."""
    process: SpawnedProcess | None = None
    while (task := shared.next()) is not None:
        future, call = task
        if future.set_running_or_notify_cancel():
            try:
                process = process or SpawnedProcess()
                came = outcome(shared.run(future, call, process))
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(came)
                del came
            if process is not None and process.is_killed:
                process.end()
                process = None
        del task, future, call  # they are not to live until the next one comes
    if process is not None:
        process.end()
