"""Simulated time: processes that wait for servers and links.

A process is a generator that yields what it waits for::

    def student(clock, link, server):
        yield clock.wait(30)  # seconds of its own
        yield link.carry(47e6)  # bytes, beside others on the link
        yield server.serve(0.02)  # seconds of a server, one after the other

Events at the same time happen in the order in which they were planned, so a run is the same every
time.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

__all__ = ["Clock", "Link", "Process", "Request", "Server"]

Request: TypeAlias = Callable[[Callable[[], None]], None]
"""Begins what is waited for; calls its argument when that is over."""

Process: TypeAlias = Iterator[Request]


class Clock:
    """Time, in seconds, which passes from event to event.

    Attributes
    ----------
    now : float
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._ordinals = itertools.count()

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call a function then."""
        heapq.heappush(self._events, (when, next(self._ordinals), call))

    def wait(self, seconds: float) -> Request:
        """Wait for so long."""
        return partial(self.at, self.now + seconds)

    def start(self, process: Process) -> None:
        """Begin a process now."""
        self.at(self.now, partial(self._go_on, process))

    def run(self) -> float:
        """Let time pass until nothing is left to happen, and return it."""
        while self._events:
            self.now, _, call = heapq.heappop(self._events)
            call()
        return self.now

    def _go_on(self, process: Process) -> None:
        request = next(process, None)
        if request is not None:
            request(partial(self._go_on, process))


class Server:
    """Serves requests in the order in which they come.

    Parameters
    ----------
    clock : Clock
    n_at_once : int
        How many it serves at a time.

    Attributes
    ----------
    busy : float
        Seconds of all requests that it began to serve.
    """

    def __init__(self, clock: Clock, n_at_once: int = 1) -> None:
        self.busy = 0.0
        self._clock = clock
        self._n_free = n_at_once
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()

    def serve(self, seconds: float) -> Request:
        """Wait for one's turn, and then for so long."""
        return partial(self._queue, seconds)

    def _queue(self, seconds: float, resume: Callable[[], None]) -> None:
        self._waiting.append((seconds, resume))
        self._serve_next()

    def _serve_next(self) -> None:
        if self._n_free and self._waiting:
            seconds, resume = self._waiting.popleft()
            self._n_free -= 1
            self.busy += seconds
            self._clock.at(self._clock.now + seconds, partial(self._end, resume))

    def _end(self, resume: Callable[[], None]) -> None:
        self._n_free += 1
        self._serve_next()
        resume()


class Link:
    """Carries bytes for many at once, all of them at the same rate.

    Parameters
    ----------
    clock : Clock
    bytes_per_second : float
        Of all of them together.
    most : float
        Bytes per second that one of them can have.

    Attributes
    ----------
    carried : float
        Bytes that have arrived.
    """

    def __init__(self, clock: Clock, bytes_per_second: float, most: float = math.inf) -> None:
        self.carried = 0.0
        self._clock = clock
        self._bytes_per_second = bytes_per_second
        self._most = most
        self._each = 0.0  # bytes that one who was here from the beginning would have had
        self._since = 0.0
        self._under_way: list[tuple[float, int, float, Callable[[], None]]] = []
        self._ordinals = itertools.count()
        self._plan = 0

    def carry(self, n_bytes: float) -> Request:
        """Wait until so many bytes have arrived."""
        return partial(self._begin, n_bytes)

    def _begin(self, n_bytes: float, resume: Callable[[], None]) -> None:
        self._catch_up()
        entry = (self._each + n_bytes, next(self._ordinals), n_bytes, resume)
        heapq.heappush(self._under_way, entry)
        self._plan_next()

    def _rate(self) -> float:
        return min(self._most, self._bytes_per_second / len(self._under_way))

    def _catch_up(self) -> None:
        if self._under_way:
            self._each += (self._clock.now - self._since) * self._rate()
        self._since = self._clock.now

    def _plan_next(self) -> None:
        """Plan the next arrival; what was planned before is void, as the rate has changed."""
        self._plan += 1
        if self._under_way:
            seconds = max(0.0, self._under_way[0][0] - self._each) / self._rate()
            self._clock.at(self._clock.now + seconds, partial(self._arrive, self._plan))

    def _arrive(self, plan: int) -> None:
        if plan != self._plan:
            return
        self._catch_up()
        self._each, _, n_bytes, resume = heapq.heappop(self._under_way)
        self.carried += n_bytes
        self._plan_next()
        resume()
