"""Tasks on many workers, in simulated time.

One process hands tasks out, some at a time. A worker starts, gets a model when a task first needs
it, evaluates the prefix that tasks have in common unless it did so for the task before, and then
what is the task's own. A worker that dies takes its task with it: that goes to another worker once,
and is reported if that one dies, too.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from .simulation import Clock, Link, Process, Server

__all__ = ["Cluster", "Run", "Span", "Task", "run_tasks"]


@dataclass(frozen=True)
class Task:
    """One recording with one model.

    Attributes
    ----------
    model : int
    prefix : int
        Of what its model has to read first; the same number, the same tokens.
    prefix_seconds, own_seconds : float
        Of evaluating them, and of the rest.
    """

    model: int
    prefix: int
    prefix_seconds: float
    own_seconds: float


@dataclass(frozen=True)
class Cluster:
    """What tasks run on.

    Attributes
    ----------
    n_workers : int
    n_together : int
        Tasks that are handed out together; they run on one worker, one after the other.
    dispatch_seconds : float
        Of the one process that hands tasks out, for each task.
    start_seconds : float
        Until a worker's process takes tasks.
    load_seconds : float
        Of a model whose file is there.
    model_bytes : float
        Of a model's file, which a worker gets through the link.
    bytes_per_second : float
        Of the link that all workers share.
    mean_life : float
        Seconds after which a worker dies, on average.
    """

    n_workers: int
    n_together: int = 1
    dispatch_seconds: float = 0.0
    start_seconds: float = 0.0
    load_seconds: float = 0.0
    model_bytes: float = 0.0
    bytes_per_second: float = math.inf
    mean_life: float = math.inf


@dataclass(frozen=True)
class Span:
    """When a worker had a task: from its arrival to its end, or the worker's."""

    worker: int
    task: int
    begin: float
    end: float
    is_done: bool


@dataclass
class Run:
    """What came of it.

    Attributes
    ----------
    seconds : float
        Until the last task was done.
    spans : list of Span
        Of every task that a worker had, in order of their ends.
    reported : list of int
        Tasks that two workers died with.
    n_loads, n_prefixes : int
        Models loaded and prefixes evaluated, by all workers together.
    computing : float
        Seconds that workers spent with prefixes and with what is a task's own.
    dispatching : float
        Seconds that the process that hands tasks out was busy.
    """

    seconds: float = 0.0
    spans: list[Span] = field(default_factory=list)
    reported: list[int] = field(default_factory=list)
    n_loads: int = 0
    n_prefixes: int = 0
    computing: float = 0.0
    dispatching: float = 0.0


class _Simulation:
    def __init__(self, tasks: Sequence[Task], cluster: Cluster, seed: int) -> None:
        self.tasks, self.cluster = tasks, cluster
        self.rng = random.Random(seed)
        self.clock = Clock()
        self.dispatcher = Server(self.clock)
        self.link = Link(self.clock, cluster.bytes_per_second)
        numbers, size = range(len(tasks)), cluster.n_together
        self.queue = deque(numbers[at : at + size] for at in range(0, len(tasks), size))
        self.lost: set[int] = set()
        self.run = Run()

    def worker(self, number: int) -> Process:
        clock, cluster, run = self.clock, self.cluster, self.run
        dies = math.inf
        if cluster.mean_life < math.inf:
            dies = clock.now + self.rng.expovariate(1 / cluster.mean_life)
        yield clock.wait(cluster.start_seconds)
        loaded: set[int] = set()
        prefix: tuple[int, int] | None = None
        while self.queue:
            bundle = self.queue.popleft()
            yield self.dispatcher.serve(cluster.dispatch_seconds * len(bundle))
            for at, index in enumerate(bundle):
                task, begin = self.tasks[index], clock.now
                if task.model not in loaded:
                    run.n_loads += 1
                    if cluster.model_bytes:
                        yield self.link.carry(cluster.model_bytes)
                    yield clock.wait(cluster.load_seconds)
                    loaded.add(task.model)
                    prefix = None  # one context at a time
                seconds = task.own_seconds
                if prefix != (task.model, task.prefix):
                    run.n_prefixes += 1
                    seconds += task.prefix_seconds
                    prefix = (task.model, task.prefix)
                is_done = seconds <= dies - clock.now
                seconds = seconds if is_done else max(0.0, dies - clock.now)
                yield clock.wait(seconds)
                run.computing += seconds
                run.spans.append(Span(number, index, begin, clock.now, is_done))
                if not is_done:
                    self._lose(bundle[at:])
                    clock.start(self.worker(number))  # another process in its place
                    return

    def _lose(self, rest: Sequence[int]) -> None:
        """Give the task that a worker died with, and those behind it, to others."""
        first, *others = rest
        if others:
            self.queue.appendleft(range(others[0], others[-1] + 1))
        if first in self.lost:
            self.run.reported.append(first)
        else:
            self.lost.add(first)
            self.queue.appendleft(range(first, first + 1))


def run_tasks(tasks: Sequence[Task], cluster: Cluster, *, seed: int = 0) -> Run:
    """Simulate tasks on a cluster, in their order.

    Parameters
    ----------
    tasks : sequence of Task
    cluster : Cluster
    seed : int
        Of when workers die.
    """
    simulation = _Simulation(tasks, cluster, seed)
    for number in range(cluster.n_workers):
        simulation.clock.start(simulation.worker(number))
    simulation.clock.run()
    run = simulation.run
    run.seconds = max((span.end for span in run.spans), default=0.0)
    run.dispatching = simulation.dispatcher.busy
    return run
