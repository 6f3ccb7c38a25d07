"""The lock, the worker thread, and interrupts that wait."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from types import FrameType

import pytest
from interrupting import count_lines, interrupt
from waiting import gate, in_thread, wait_until

from mullama_nb.engine.worker import (
    FairLock,
    Worker,
    decoding,
    give_up_when,
    interrupts_held,
)
from mullama_nb.errors import ContextError

posix = pytest.mark.skipif(os.name == "nt", reason="signals are another thing there")


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """Interrupts that a handler of the user's got."""
    numbers: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        numbers.append(number)

    previous = signal.signal(signal.SIGINT, handle)
    yield numbers
    signal.signal(signal.SIGINT, previous)


@posix
def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_held() as pending:  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        done.append(len(pending))
    assert done == [1]


@posix
def test_blocks_nest_and_an_error_inside_is_kept() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, interrupts_held():  # noqa: PT012, SIM117
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("inside")
    assert isinstance(caught.value.__context__, ValueError)


@posix
def test_the_users_own_handler_gets_it(handled: list[int]) -> None:
    with interrupts_held():
        signal.raise_signal(signal.SIGINT)
        assert not handled
    assert handled == [signal.SIGINT]
    signal.raise_signal(signal.SIGINT)
    assert len(handled) == 2


@posix
def test_what_is_ignored_stays_ignored() -> None:
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_held() as pending:
            signal.raise_signal(signal.SIGINT)
            assert not pending
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


@posix
def test_a_process_that_would_die_of_it_still_does() -> None:
    script = """
        import signal
        from mullama_nb.engine.worker import interrupts_held
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            print("held", flush=True)
        print("alive")
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "held\n")


def test_other_threads_do_not_touch_handlers(handled: list[int]) -> None:
    before = signal.getsignal(signal.SIGINT)

    def hold() -> None:
        with interrupts_held():
            assert signal.getsignal(signal.SIGINT) is before

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert not handled


def test_a_loop_cannot_keep_the_lock_to_itself() -> None:
    lock, stop = FairLock(), threading.Event()
    turns = 0

    def loop() -> None:
        while not stop.is_set():
            before, is_wanted = turns, lock.is_wanted()
            with lock.held():
                assert turns > before or not is_wanted, "it overtook somebody who waited"
                time.sleep(0.001)

    thread = in_thread(loop)
    for _ in range(20):
        with lock.held():
            turns += 1
    stop.set()
    thread.join()


def test_the_lock_can_be_taken_again_by_whoever_has_it() -> None:
    lock = FairLock()
    with lock.held(), lock.held():
        assert lock.is_mine()
    assert not lock.is_mine()
    with pytest.raises(ValueError, match="inside"), lock.held():
        raise ValueError("inside")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(lock.is_mine()))
    with lock.held():
        thread.start()
        thread.join()
    assert seen == [False]


@posix
def test_waiting_for_the_lock_can_be_interrupted() -> None:
    lock, taken = FairLock(), threading.Event()

    def keep(release: threading.Event) -> None:
        with lock.held():
            taken.set()
            release.wait()

    def interrupt_who_waits() -> None:
        wait_until(lock.is_wanted)
        os.kill(os.getpid(), signal.SIGINT)

    with gate() as release:
        thread = in_thread(keep, release)
        taken.wait()
        interrupting = in_thread(interrupt_who_waits)
        with pytest.raises(KeyboardInterrupt), lock.held():
            pytest.fail("nobody gave it up")
        interrupting.join()
    thread.join()
    with lock.held():
        assert lock.is_mine()


def test_jobs_run_in_order_and_their_errors_come_back() -> None:
    worker = Worker("test")
    order: list[int] = []
    futures = [worker.submit(lambda i=i: order.append(i)) for i in range(5)]

    def fail() -> None:
        raise TimeoutError("the job's own")

    with pytest.raises(TimeoutError, match="the job's own"):
        worker.wait(worker.submit(fail), lambda: None)
    assert order == [0, 1, 2, 3, 4]
    assert all(future.done() for future in futures)
    assert worker.wait(worker.submit(worker.is_current), lambda: None)
    assert not worker.is_current()
    worker.close()


def test_a_job_cannot_wait_for_another_one() -> None:
    worker = Worker("test")
    with pytest.raises(ContextError, match="do it after the call has returned"):
        worker.wait(worker.submit(lambda: worker.submit(lambda: 1)), lambda: None)
    worker.close()


@posix
def test_an_interrupt_at_any_line_of_waiting_leaves_a_worker_that_works() -> None:
    """Also within Python's own futures, whose locks it could leave taken."""
    worker = Worker("test")

    def job() -> None:
        with gate() as stop:
            worker.wait(worker.submit(lambda: stop.wait(0.002)), stop.set)

    for line in range(1, count_lines(job) + 1):
        interrupt(job, line)
        assert worker.wait(worker.submit(lambda n=line: n), lambda: None) == line
    worker.close()


@posix
def test_an_interrupt_stops_the_job_and_comes_after_it() -> None:
    worker, waits = Worker("test"), threading.Event()
    ended = []

    def asked() -> bool:  # by the main thread, within its waiting
        waits.set()
        return False

    def job(stop: threading.Event) -> None:
        waits.wait()
        os.kill(os.getpid(), signal.SIGINT)
        stop.wait()
        ended.append(True)

    with gate() as stop, give_up_when(asked), pytest.raises(KeyboardInterrupt):
        worker.wait(worker.submit(lambda: job(stop)), stop.set)
    assert ended == [True]
    worker.close()


def test_a_worker_that_is_dropped_ends_its_thread() -> None:
    worker = Worker("dropped")
    worker.wait(worker.submit(lambda: 1), lambda: None)
    assert threads_named("dropped")
    del worker
    wait_until(lambda: not threads_named("dropped"))


def threads_named(name: str) -> int:
    return sum(thread.name.startswith(name) for thread in threading.enumerate())


def test_a_worker_that_rests_gives_up_its_thread_for_another() -> None:
    """Threads of OpenMP's that belong to it would slow the other one down."""
    first, second = Worker("first"), Worker("second")
    assert first.wait(first.submit(first.is_current), lambda: None)
    assert threads_named("first") == 1
    second.wait(second.submit(lambda: None), lambda: None)
    wait_until(lambda: not threads_named("first"))
    assert first.wait(first.submit(first.is_current), lambda: None)
    wait_until(lambda: not threads_named("second"))
    for worker in (first, second):
        worker.close()
        with pytest.raises(RuntimeError, match="was closed"):
            worker.submit(lambda: None)


def test_a_worker_that_is_busy_keeps_its_thread() -> None:
    busy, other = Worker("busy"), Worker("other")
    with gate() as go_on:
        futures = [busy.submit(go_on.wait), busy.submit(busy.is_current)]
        for _ in range(3):
            other.wait(other.submit(lambda: None), lambda: None)
        assert threads_named("busy") == 1
        go_on.set()
        assert [busy.wait(future, lambda: None) for future in futures] == [True, True]
    for worker in (busy, other):
        worker.close()


def test_many_threads_may_use_many_workers() -> None:
    workers = [Worker(f"many-{number}") for number in range(4)]

    def use(seed: int) -> None:
        choice = random.Random(seed)
        for number in range(100):
            worker = choice.choice(workers)
            assert worker.wait(worker.submit(lambda n=number: n), lambda: None) == number

    users = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    for worker in workers:
        worker.close()
    wait_until(lambda: not threads_named("many"))


def test_decodes_are_a_workers_or_on_a_thread_that_ends_with_them() -> None:
    def here() -> threading.Thread:
        return threading.current_thread()

    passing = decoding(here)
    assert passing is not here()
    assert not passing.is_alive()
    worker = Worker("decodes")
    thread = worker.wait(worker.submit(here), lambda: None)
    assert worker.wait(worker.submit(lambda: decoding(here)), lambda: None) is thread
    worker.close()
