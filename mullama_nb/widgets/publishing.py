"""The widgets' threads: one for publishing, and one for actions on each tree."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["publish_soon", "run_in_turn"]

_SECONDS_BETWEEN_MESSAGES = 1 / 25


class _Publisher:
    """The one thread that writes traits and sends messages, at most 25 times a second."""

    def __init__(self) -> None:
        self._waiting: list[weakref.ref[Any]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, widget: weakref.ref[Any]) -> None:
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="mullama-widgets", daemon=True
                )
                self._thread.start()
            if widget not in self._waiting:
                self._waiting.append(widget)
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                waiting, self._waiting = self._waiting, []
            began = time.monotonic()
            for reference in waiting:
                widget = reference()
                if widget is not None:
                    widget.publish()
                del widget  # waiting keeps no widget alive
            took = time.monotonic() - began  # at most a fifth of the time: generation needs it
            time.sleep(max(_SECONDS_BETWEEN_MESSAGES, 4 * took))


class _Queue:
    """Runs jobs one after the other, on a thread that lives while there are any."""

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._is_running = False

    def add(self, job: Callable[[], None]) -> None:
        with self._lock:
            self._jobs.append(job)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="mullama-actions", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._is_running = False
                    return
                job = self._jobs.popleft()
            job()


_publisher = _Publisher()
_queues: weakref.WeakKeyDictionary[object, _Queue] = weakref.WeakKeyDictionary()


def publish_soon(widget: weakref.ref[Any]) -> None:
    """Schedule a call of a widget's ``publish()`` on the publishing thread, if it still lives then.

    Parameters
    ----------
    widget : weakref of object
    """
    _publisher.add(widget)


def run_in_turn(target: object, job: Callable[[], None]) -> None:
    """Run a job on another thread, after all earlier jobs on the same target.

    Parameters
    ----------
    target : object
        The object that the job changes; jobs do not keep it alive.
    job : callable
        Called without arguments; it must not raise.
    """
    _queues.setdefault(target, _Queue()).add(job)
