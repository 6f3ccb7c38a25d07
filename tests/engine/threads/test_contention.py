"""The watch, on machines that are made up: when it switches, how soon, and what it costs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mullama_nb.engine.threads.contention import Watch
from mullama_nb.engine.threads.openmp import Switch

N_THREADS = 2


@dataclass
class FakeSwitch:
    """Notes when it was switched."""

    now: Callable[[], float]
    is_yielding: bool = False
    may_yield: bool = True
    times: list[float] = field(default_factory=list)

    def make_yield(self) -> bool:
        if self.may_yield:
            self.is_yielding = True
            self.times.append(self.now())
        return self.may_yield

    def make_spin(self) -> None:
        self.is_yielding = False
        self.times.append(self.now())


@dataclass
class FakeMachine:
    """A process that generates, with a clock and CPU time of its own.

    Attributes
    ----------
    seconds : float
        For a token where all is quiet.
    load : float
        How many programs beside it always run.
    yielding_share : float
        CPU time that threads take when they yield and all is quiet.
    """

    seconds: float = 0.01
    load: float = 0.0
    yielding_share: float = 0.9
    now: float = 100.0
    cpu: float = 0.0
    n_readings: int = 0
    spun: float = 0.0  # seconds while crowded

    def __post_init__(self) -> None:
        self.switch = FakeSwitch(lambda: self.now)
        self.watch = Watch(cast(Switch, self.switch), lambda: self.now, self._cpu_time)

    def _cpu_time(self) -> float:
        self.n_readings += 1
        return self.cpu

    def share(self) -> float:
        spins = 0.97 * min(1.0, 2 / (2 + self.load))
        return spins if not self.switch.is_yielding else self.yielding_share * spins**1.5

    def decode(self) -> int:
        slower = 1 + self.load * (1 if self.switch.is_yielding else 4)
        passed = self.seconds * slower
        if self.load and not self.switch.is_yielding:
            self.spun += passed
        self.now += passed
        self.cpu += passed * N_THREADS * self.share()
        return 0

    def generate(self, seconds: float, pause: float = 0.0002) -> None:
        end = self.now + seconds
        while self.now < end:
            assert self.watch.run(N_THREADS, self.decode) == 0
            self.now += pause
            if pause < 0.003:  # threads spin on
                self.cpu += pause * N_THREADS * self.share()


TOKEN = st.floats(0.004, 0.4)


@given(TOKEN, st.sampled_from([0.0002, 0.02]), st.floats(0, 0.5))
@settings(max_examples=30, deadline=None)
def test_where_there_is_room_it_spins(seconds: float, pause: float, load: float) -> None:
    machine = FakeMachine(seconds, load)
    machine.generate(5, pause)
    assert machine.switch.times == []


@given(TOKEN, st.sampled_from([0.0002, 0.02]), st.floats(1, 6))
@settings(max_examples=30, deadline=None)
def test_where_it_is_crowded_it_yields_soon(seconds: float, pause: float, load: float) -> None:
    machine = FakeMachine(seconds, load)
    token = seconds * (1 + 4 * load)
    machine.generate(4 * token + (0.4 if pause < 0.002 else 0.4 * (1 + pause / token)), pause)
    assert machine.switch.is_yielding


@pytest.mark.slow
@given(TOKEN, st.floats(1, 6), st.floats(0.3, 0.95))
@settings(max_examples=30, deadline=None)
def test_trying_takes_little_time_and_does_not_miss_the_calm(
    seconds: float, load: float, yielding_share: float
) -> None:
    machine = FakeMachine(seconds, load, yielding_share)
    machine.generate(1)
    machine.spun = 0.0
    n_switches = len(machine.switch.times)
    machine.generate(200)
    a_token = seconds * (1 + 4 * load)
    assert machine.spun <= 200 / 20 + 2 * a_token
    assert len(machine.switch.times) - n_switches <= 2 * 200 / 5
    machine.load = 0.0
    machine.generate(1.5 + 4 * seconds if yielding_share > 0.85 else 125)
    assert not machine.switch.is_yielding
    n_switches = len(machine.switch.times)
    machine.generate(10)
    assert len(machine.switch.times) == n_switches


@given(st.lists(st.tuples(st.floats(0, 6), st.floats(0, 3)), max_size=8), st.booleans())
@settings(max_examples=30, deadline=None)
@example([(5.0625, 0.125), (0.0, 0.25), (0.0, 0.0625), (1.0, 1.375)], True)
def test_whatever_went_before_it_settles(phases: list[tuple[float, float]], crowded: bool) -> None:
    machine = FakeMachine(0.02)
    for load, seconds in phases:
        machine.load = load
        machine.generate(seconds)
        machine.now += seconds  # and nobody asks for a while
    machine.load = 3.0 if crowded else 0.0
    machine.generate(125)
    if crowded and not machine.switch.is_yielding:
        machine.generate(0.3)  # it is being tried, which ends with its window
    assert machine.switch.is_yielding == crowded


def test_two_processes_that_generate_both_yield() -> None:
    machines = [FakeMachine(), FakeMachine()]
    for _ in range(4000):
        for machine, other in (machines, machines[::-1]):
            machine.load = 1.2 if other.switch.is_yielding else 2.0
            machine.generate(machine.seconds)
    assert all(machine.switch.is_yielding for machine in machines)
    assert all(len(machine.switch.times) < 30 for machine in machines)


@pytest.mark.parametrize("seconds", [0.0003, 0.006, 0.02])
def test_it_costs_a_reading_each_tenth_of_a_second(seconds: float) -> None:
    machine = FakeMachine(seconds)
    machine.generate(20)
    assert machine.n_readings <= 20 / 0.1 + 3


def test_decodes_at_the_same_time_are_not_judged() -> None:
    machine = FakeMachine(seconds=0.02, load=6)
    for _ in range(50):
        # The other context's decode comes and goes within this one.
        machine.watch.run(N_THREADS, lambda: machine.watch.run(N_THREADS, machine.decode))
    assert machine.switch.times == []
    machine.generate(1)
    assert machine.switch.is_yielding


def test_other_numbers_of_threads_are_measured_apart() -> None:
    machine = FakeMachine(seconds=0.02)
    for n_threads in [2, 4] * 50:
        machine.watch.run(n_threads, lambda n=n_threads: _decode_by(machine, n))
    assert machine.switch.times == []


def _decode_by(machine: FakeMachine, n_threads: int) -> int:
    machine.now += 0.02
    machine.cpu += 0.02 * n_threads * 0.97
    return 0


def test_where_no_thread_may_be_started_it_spins_on() -> None:
    machine = FakeMachine(load=3)
    machine.switch.may_yield = False
    machine.generate(3)
    assert machine.switch.times == []


def test_an_error_in_a_decode_leaves_the_watch_usable() -> None:
    machine = FakeMachine(load=3)

    def fail() -> int:
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            machine.watch.run(N_THREADS, fail)
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(machine.watch.run(2, machine.decode)))
    thread.start()
    thread.join()
    assert done == [0]
    machine.generate(3)
    assert machine.switch.is_yielding
