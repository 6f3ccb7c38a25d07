"""The lock, interrupts that wait, and requests to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from functools import partial
from types import FrameType
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import gate, in_thread, wait_until

from mullama_nb.engine.threads.lock import CancelToken, FairLock, interrupts_held

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
        from mullama_nb.engine.threads.lock import interrupts_held
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            print("held", flush=True)
        print("alive")
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "held\n")


@posix
def test_what_is_ignored_stays_ignored_in_nested_blocks() -> None:
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_held() as outer, interrupts_held() as inner:
            signal.raise_signal(signal.SIGINT)
            assert (outer, inner) == ([], [])
    finally:
        signal.signal(signal.SIGINT, previous)


class Nested(NamedTuple):
    """A block, with what happens in it; None is an interrupt."""

    lets_through: bool
    steps: list[Nested | None]


programs = st.recursive(
    st.lists(st.none(), max_size=2),
    lambda steps: st.lists(st.none() | st.builds(Nested, st.booleans(), steps), max_size=4),
    max_leaves=20,
)


def run(steps: list[Nested | None], received: list[int]) -> None:
    """Do what a program says, and note how many signals each block received."""
    for step in steps:
        if step is None:
            signal.raise_signal(signal.SIGINT)
        else:
            with interrupts_held(None, partial(bool, step.lets_through)) as pending:
                run(step.steps, received)
            received.append(len(pending))


def expect(steps: list[Nested | None], received: list[int]) -> int:
    """Return how many signals get out of a program; note how many each block receives."""
    n_out = 0
    for step in steps:
        if step is None:
            n_out += 1
            continue
        n = expect(step.steps, received)
        received.append(0 if step.lets_through else n)
        n_out += n if step.lets_through else min(n, 1)
    return n_out


@posix
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(programs)
def test_nested_blocks_hand_an_interrupt_on_one_by_one(
    handled: list[int], steps: list[Nested | None]
) -> None:
    handled.clear()
    before = signal.getsignal(signal.SIGINT)
    received: list[int] = []
    expected: list[int] = []
    run(steps, received)
    n_handled = expect(steps, expected)
    assert (received, len(handled)) == (expected, n_handled)
    assert signal.getsignal(signal.SIGINT) is before


@posix
def test_a_handler_that_is_set_within_a_block_gets_what_a_nested_one_received(
    handled: list[int],
) -> None:
    own: list[int] = []
    with interrupts_held() as pending:
        before = signal.signal(signal.SIGINT, lambda number, _frame: own.append(number))
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            assert not own
        assert (own, pending) == ([signal.SIGINT], [])
        signal.signal(signal.SIGINT, before)
        signal.raise_signal(signal.SIGINT)
        assert pending == [signal.SIGINT]
    assert handled == [signal.SIGINT]
    # A handler that is put back too late hands on what it gets.
    user = signal.signal(signal.SIGINT, before)
    signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, user)
    assert len(handled) == 2


@posix
def test_only_the_outermost_block_replaces_the_handler(handled: list[int]) -> None:
    with interrupts_held():
        handler = signal.getsignal(signal.SIGINT)
        with interrupts_held(), FairLock().held():
            assert signal.getsignal(signal.SIGINT) is handler
    assert not handled


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


@posix
def test_each_interrupt_is_told_while_it_waits(handled: list[int]) -> None:
    told: list[int] = []
    with interrupts_held(lambda: told.append(len(handled))) as pending:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert (told, pending) == ([0, 0], [signal.SIGINT] * 2)
    assert handled == [signal.SIGINT]


@posix
def test_interrupts_are_let_through_where_that_is_asked_for(handled: list[int]) -> None:
    told: list[int] = []
    is_callback = True
    with interrupts_held(lambda: told.append(1), lambda: is_callback) as pending:
        signal.raise_signal(signal.SIGINT)
        assert (handled, told, pending) == ([signal.SIGINT], [], [])
        is_callback = False
        signal.raise_signal(signal.SIGINT)
        assert (told, len(handled)) == ([1], 1)
    assert len(handled) == 2


def test_whoever_waits_for_the_lock_may_give_up() -> None:
    lock, taken = FairLock(), threading.Event()
    reasons = iter([None, ValueError("enough")])

    def keep(release: threading.Event) -> None:
        with lock.held():
            taken.set()
            release.wait()

    with gate() as release:
        thread = in_thread(keep, release)
        taken.wait()
        with pytest.raises(ValueError, match="enough"):
            lock.acquire(lambda: next(reasons))
        assert not lock.is_wanted()
        with lock.tried() as entered:
            assert not entered
    thread.join()
    for depth in (1, 2, 3):
        lock.acquire()
        assert (lock.owner, lock.depth) == (threading.get_ident(), depth)
    for depth in (2, 1, 0):
        lock.release()
        assert (lock.is_mine(), lock.depth) == (depth > 0, depth)


def test_a_token_tells_whoever_listens_once_it_is_cancelled() -> None:
    token, told = CancelToken(), []
    with token.listened(lambda: told.append("within")):
        assert not token.is_cancelled
    token.cancel()
    assert (token.is_cancelled, told) == (True, [])
    with token.listened(lambda: told.append("late")):
        assert told == ["late"]
        token.cancel()
    assert told == ["late", "late"]


def test_tokens_follow_each_other() -> None:
    call, hold, job = CancelToken(), CancelToken(), CancelToken()
    with call.listened(hold.cancel):
        with hold.listened(job.cancel):
            pass
        hold.cancel()
        assert (call.is_cancelled, job.is_cancelled) == (False, False)
        with hold.listened(job.cancel):
            assert job.is_cancelled
