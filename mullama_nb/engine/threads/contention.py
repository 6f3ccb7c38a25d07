"""Detecting, while llama.cpp decodes, whether other programs need the CPUs its threads spin on.

Spinning threads take all CPU time that they can get. So a decode's CPU time, divided by its threads
and by the elapsed time, is the share that other programs left: 0.97 on a quiet machine of 2 CPUs,
0.85 beside a program that runs half the time, 0.6 beside one that always runs, 0.4 beside three.
Spinning is fastest down to about 0.75; below, a thread that spins on a CPU delays the one that
needs it, and threads should yield.

While they yield, the share says less, as they also sleep: a high share is a reason to try spinning
again; without one it is tried now and then, so rarely that the tries take at most a fiftieth of the
time. Two processes that generate side by side see each other and both yield.

The cost is one reading of the process's CPU time per tenth of a second while it decodes, and
nothing otherwise.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

from .openmp import Switch, Unswitchable, find_switch

__all__ = ["Waiting", "Watch", "explained", "waiting", "watched"]

Waiting: TypeAlias = Literal["spinning", "yielding", "as set", "unknown", "alone"]
"""How the threads that compute a token wait for each other: awake; so that others can have the CPU;
as the user's OMP or GOMP variables have it; as another library or build has it; or not at all, as
there is one only."""

_WINDOW = 0.1  # seconds of decoding that are judged together
_PAUSE = 0.002  # seconds between two decodes; threads that wait for longer fall asleep
_CROWDED = 0.72  # of the CPU time that threads could have had
_CALM = 0.8
_PATIENCE = 0.15  # seconds of crowded decoding, without calm in between
_SOON = 0.5  # seconds until spinning is tried again for a reason
_TRY_COSTS = 50  # times as long as it took to find it crowded it is not tried without a reason
_LATEST = 120.0  # seconds


class Watch:
    """Watches decodes and switches; one per process.

    Parameters
    ----------
    switch : Switch
    clock, cpu_time : callable
        Elapsed seconds, and CPU seconds of this process's threads.
    """

    def __init__(
        self,
        switch: Switch,
        clock: Callable[[], float] = time.perf_counter,
        cpu_time: Callable[[], float] = time.process_time,
    ) -> None:
        self.switch = switch
        self._clock = clock
        self._cpu_time = cpu_time
        self._one_at_a_time = threading.Lock()
        self._is_disturbed = False
        self._n_threads = 0
        self._ended = -1.0  # of the last decode
        self._since, self._cpu_then = 0.0, 0.0  # what has not been added up yet
        self._passed, self._got = 0.0, 0.0  # of this window
        self._crowded_for = 0.0
        self._is_trying = self._looked_calm = False
        self._try_if_calm, self._try_anyway = 0.0, 0.0
        self._soon = _SOON

    def run(self, n_threads: int, decode: Callable[[], int]) -> int:
        """Run a decode, and measure its share of the CPUs."""
        if not self._one_at_a_time.acquire(blocking=False):
            self._is_disturbed = True  # two decodes at once: whose CPU time would it be?
            return decode()
        try:
            began = self._clock()
            is_anew = (
                not 0 <= began - self._ended < _PAUSE
                or n_threads != self._n_threads
                or self._is_disturbed
            )
            if is_anew:
                self._n_threads, self._is_disturbed = n_threads, False
                self._since, self._cpu_then = began, self._cpu_time()
            status = decode()
            self._ended = ended = self._clock()
            # After a pause another one may follow, so this decode is measured by itself.
            if is_anew or ended - self._since >= _WINDOW:
                self._add_up(ended)
            return status
        finally:
            self._one_at_a_time.release()

    def _add_up(self, now: float) -> None:
        cpu_now = self._cpu_time()
        passed, got = now - self._since, (cpu_now - self._cpu_then) / self._n_threads
        self._since, self._cpu_then = now, cpu_now
        if self._is_disturbed:
            return
        self._passed += passed
        self._got += got
        if self._passed >= _WINDOW:
            share, passed = self._got / self._passed, self._passed
            self._passed = self._got = 0.0
            self._judge(share, passed, now)

    def _judge(self, share: float, passed: float, now: float) -> None:
        if self.switch.is_yielding:
            looks_calm = share >= _CALM
            if now >= (self._try_if_calm if looks_calm else self._try_anyway):
                self.switch.make_spin()
                self._is_trying, self._looked_calm = True, looks_calm
            return
        if share >= (_CALM if self._is_trying else _CROWDED):
            self._crowded_for, self._is_trying = 0.0, False
            return
        self._crowded_for += passed
        if self._is_trying or self._crowded_for >= _PATIENCE:
            later = min(_TRY_COSTS * self._crowded_for, _LATEST)
            was_wrong = self._is_trying and self._looked_calm
            # What looks calm mostly is; where it never is, the tries become rare.
            self._soon = min(2 * self._soon, later) if was_wrong else _SOON
            self._try_anyway = now + later
            self._try_if_calm = now + self._soon
            self._crowded_for, self._is_trying = 0.0, False
            self.switch.make_yield()


class _Process:
    """What this process has: a watch, or the reason why there is none."""

    def __init__(self) -> None:
        self._finding = threading.Lock()
        self._found: Watch | Unswitchable | None = None

    def found(self) -> Watch | Unswitchable:
        with self._finding:
            if self._found is None:
                switch = find_switch()
                self._found = Watch(switch) if isinstance(switch, Switch) else switch
            return self._found

    def after_fork(self) -> None:
        """Its threads are not here, but libgomp goes on counting them."""
        self._finding = threading.Lock()
        if isinstance(self._found, Watch):
            self._found = Unswitchable("this process was forked from one that had contexts")


_process = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.after_fork)


def watched(n_threads: int, decode: Callable[[], int]) -> Callable[[], int]:
    """Run a decode on a number of threads, measuring its share where that is of use."""
    found = _process.found()
    if n_threads < 2 or isinstance(found, Unswitchable) or found.switch.yields(n_threads):
        return decode
    return partial(found.run, n_threads, decode)


def waiting(n_threads: int) -> Waiting:
    """Return how a number of threads wait for each other at present."""
    if n_threads < 2:
        return "alone"
    found = _process.found()
    if isinstance(found, Unswitchable):
        return "as set" if found.is_set else "unknown"
    yields = found.switch.is_yielding or found.switch.yields(n_threads)
    return "yielding" if yields else "spinning"


def explained(n_threads: int) -> str:
    """Return what decides how a number of threads wait, in words."""
    found = _process.found()
    if n_threads < 2:
        return "one thread waits for nobody"
    if isinstance(found, Unswitchable):
        return found.reason
    if found.switch.yields(n_threads):
        return f"{found.switch.name} yields by itself: there are more threads than CPUs"
    return f"{found.switch.name} spins, and yields while other programs need the CPUs"
