"""How tests wait: for a state, however long it takes, and never for a moment.

None of these gives up: a test that waits in vain fails by ``hang_guard``, with all stacks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["gate", "in_thread", "wait_until"]


def wait_until(holds: Callable[[], object]) -> None:
    """Look again and again until it holds."""
    while not holds():
        time.sleep(0.001)


@contextmanager
def gate() -> Iterator[threading.Event]:
    """An event that threads wait for; it is set at the end, so that a failure leaves nobody."""
    event = threading.Event()
    try:
        yield event
    finally:
        event.set()


class _Job(threading.Thread):
    def __init__(self, job: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        super().__init__(daemon=True)
        self._job, self._arguments = job, arguments
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._job(*self._arguments)
        except BaseException as error:  # raised where it is joined
            self._error = error

    def join(self, timeout: float | None = None) -> None:
        super().join(timeout)
        if self._error is not None:
            raise self._error


def in_thread(job: Callable[..., object], *arguments: Any) -> threading.Thread:
    """Start a job in a thread; joining it raises what the job raised."""
    thread = _Job(job, arguments)
    thread.start()
    return thread
