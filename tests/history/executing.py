"""Executors for tests: everything is pickled, as for another process, and runs on threads here."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

__all__ = ["Pickling", "Refusing"]


class Pickling(Executor):
    """Runs calls on threads of this process, with copies of what they are given and return.

    Parameters
    ----------
    n_workers : int
    before : callable, optional
        Called with the number of each call before it runs; what it raises ends that call.

    Attributes
    ----------
    n_calls, n_ran : int
        How many were sent, and how many began.
    n_bytes : int
        Of what was sent.
    """

    def __init__(
        self, n_workers: int = 1, before: Callable[[int], object] = lambda _number: None
    ) -> None:
        self._max_workers = n_workers
        self._before = before
        self._threads = ThreadPoolExecutor(n_workers)
        self.n_calls = self.n_ran = self.n_bytes = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        number, data = self.n_calls, pickle.dumps((fn, args, kwargs))
        self.n_calls += 1
        self.n_bytes += len(data)

        def run() -> Any:
            self.n_ran += 1
            self._before(number)
            function, values, named = pickle.loads(data)
            return pickle.loads(pickle.dumps(function(*values, **named)))

        return self._threads.submit(run)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait, cancel_futures=cancel_futures)


class Refusing(Executor):
    """Fails a test that sends something."""

    def submit(self, *_values: Any, **_named: Any) -> Future[Any]:
        raise AssertionError("nothing was to be sent")
