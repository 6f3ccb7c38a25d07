"""The worker thread, and waiting for what it does."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import weakref

import pytest
from interrupting import count_lines, interrupt
from waiting import gate, wait_until

from mullama_nb.engine.threads.lock import CancelToken
from mullama_nb.engine.threads.worker import Worker, decoding, give_up_when
from mullama_nb.errors import ContextError

posix = pytest.mark.skipif(os.name == "nt", reason="signals are another thing there")


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


def test_what_a_job_held_is_gone_once_its_result_is_known() -> None:
    class Cells:
        pass

    worker, cells = Worker("test"), Cells()
    gone, seen = weakref.ref(cells), list[object]()
    with gate() as dropped:

        def job(_: Cells = cells) -> None:
            dropped.wait()

        future = worker.submit(job)
        future.add_done_callback(lambda _: seen.append(gone()))  # on the worker's thread
        del cells, job
    worker.wait(future, lambda: None)
    assert seen == [None]
    worker.close()


def test_a_job_cannot_wait_for_another_one() -> None:
    worker = Worker("test")
    with pytest.raises(ContextError, match="do it after the call has returned"):
        worker.wait(worker.submit(lambda: worker.submit(lambda: 1)), lambda: None)
    worker.close()


@pytest.mark.slow
@posix
def test_a_thread_that_begins_after_it_has_ended_is_another_one() -> None:
    """Even one that gets the id of the thread that has ended."""
    worker, found = Worker("test"), list[bool]()
    ident = worker.wait(worker.submit(threading.get_ident), lambda: None)
    worker.close()
    idents: list[int] = []
    for _ in range(10_000):
        thread = threading.Thread(
            target=lambda: (found.append(worker.is_current()), idents.append(threading.get_ident()))
        )
        thread.start()
        thread.join()
        if ident in idents:
            break
    assert not any(found)


@pytest.mark.slow
def test_an_interrupt_at_any_line_of_waiting_leaves_a_worker_that_works() -> None:
    """Also within Python's own futures, whose locks it could leave taken."""
    worker = Worker("test")

    def job() -> None:
        with gate() as stop:
            worker.wait(worker.submit(lambda: stop.wait(0.002)), stop.set)

    for line in range(1, count_lines(job) + 1):
        interrupt(job, line)
        assert worker.wait(worker.submit(lambda n=line: n), lambda: None) == line
        assert sys.exc_info() == (None, None, None)
    worker.close()


@posix
def test_an_interrupt_stops_the_job_and_comes_after_it() -> None:
    worker, waits = Worker("test"), threading.Event()
    ended = []

    class Asked(CancelToken):  # by the main thread, within its waiting
        @property
        def is_cancelled(self) -> bool:
            waits.set()
            return False

        @is_cancelled.setter
        def is_cancelled(self, _: bool) -> None:
            pass

    def job(stop: threading.Event) -> None:
        waits.wait()
        os.kill(os.getpid(), signal.SIGINT)
        stop.wait()
        ended.append(True)

    with gate() as stop, give_up_when(Asked()), pytest.raises(KeyboardInterrupt):
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
