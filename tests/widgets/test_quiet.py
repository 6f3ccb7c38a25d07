"""Once nothing has happened for a moment something is called, and nothing is kept for it."""

from __future__ import annotations

import gc
import threading
import time
import weakref

from waiting import wait_until

from mullama_nb.widgets.quiet import Quiet


class Listener:
    def __init__(self, seconds: float) -> None:
        self.calls: list[float] = []
        self.quiet = Quiet(self.hear, seconds)

    def hear(self) -> None:
        self.calls.append(time.monotonic())


def waiting() -> int:
    return sum(each.name == "mullama-quiet" for each in threading.enumerate())


def test_is_called_once_after_the_last_of_many() -> None:
    listener = Listener(0.05)
    before, first = waiting(), time.monotonic()
    for _ in range(1000):
        listener.quiet.disturb()
    assert waiting() - before <= 1  # not a thread for each
    last = time.monotonic()
    wait_until(lambda: listener.calls and listener.calls[-1] - last > 0.04)
    n = len(listener.calls)
    if last - first < 0.04:  # else it was quiet between two of them, as on a busy machine
        assert n == 1
    listener.quiet.disturb()
    wait_until(lambda: len(listener.calls) == n + 1)


def test_waiting_keeps_nothing_alive() -> None:
    listener = Listener(3600)
    listener.quiet.disturb()
    reference = weakref.ref(listener)
    del listener
    gc.collect()
    assert reference() is None
