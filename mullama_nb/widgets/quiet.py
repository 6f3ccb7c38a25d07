"""Waiting until nothing has happened for a moment."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable

__all__ = ["Quiet"]


class Quiet:
    """Calls a method once nothing has happened for a while, and keeps nothing alive meanwhile.

    Parameters
    ----------
    method : bound method
        Called on a thread of its own; it must not raise.
    seconds : float
    """

    def __init__(self, method: Callable[[], None], seconds: float) -> None:
        self._method = weakref.WeakMethod(method)
        self._seconds = seconds
        self._due = 0.0
        self._is_waiting = False
        self._lock = threading.Lock()

    def disturb(self) -> None:
        """Begin to wait, or begin again, as something has happened."""
        with self._lock:
            self._due = time.monotonic() + self._seconds
            if not self._is_waiting:
                self._is_waiting = True
                self._wait(self._seconds)

    def _wait(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self._look)
        timer.daemon = True
        timer.name = "mullama-quiet"
        timer.start()

    def _look(self) -> None:
        with self._lock:
            left = self._due - time.monotonic()
            if left > 0:
                self._wait(left)
                return
            self._is_waiting = False
        method = self._method()
        if method is not None:
            method()
