"""A test that hangs fails with the stacks of all threads, and the next one runs.

So tests wait without a limit of their own: nothing fails because the machine is busy. Registered
by ``tests/conftest.py``, and in the Makefile for notebooks. What hangs in native code on the main
thread is ended, with the whole run, by pytest's ``faulthandler_timeout``.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

__all__ = ["PATIENCE"]

PATIENCE = 600
"""Seconds that the set-up, the call or the tear-down of a test may take on a busy machine."""

_SECONDS_TO_CLEAN_UP = 60
_SECONDS_TO_EXIT = 120


def _stacks() -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"Thread {names.get(ident, '(not of Python)')}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    )


@contextmanager
def _watched(what: str) -> Iterator[None]:
    """Raise in the main thread, which every wait in Python lets happen, when it takes longer."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def fail(_number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"{what} hung for {PATIENCE} seconds.\n\n{_stacks()}")

    previous = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE, _SECONDS_TO_CLEAN_UP)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    with _watched("The set-up"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    with _watched("The test"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    with _watched("The tear-down"):
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have nbval wait longer than 5 seconds for what a cell printed."""
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = PATIENCE


def pytest_unconfigure(config: pytest.Config) -> None:
    """A thread that still hangs cannot keep the process: its stack is shown, and it ends."""
    if not hasattr(config, "workerinput"):  # a worker of xdist stays until the others are done
        faulthandler.dump_traceback_later(_SECONDS_TO_EXIT, exit=True)
