"""Ctrl-C at any place: SIGINT at a line that is drawn by a seed, on whichever thread comes to it.

A timer would choose a moment, and what runs then is for the machine to say. Here every line of a
job is as likely as any other, wherever it runs and whatever else the machine has to do.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from mullama_nb.engine.threads.worker import Worker

__all__ = ["count_lines", "interrupt", "run_traced"]


def _is_swallowed(frame: FrameType | None) -> bool:
    """Whether Python would print an exception that is raised here, and go on."""
    while frame is not None:
        code = frame.f_code
        if code.co_name in ("__del__", "weakref_cb") or code.co_filename.endswith("weakref.py"):
            return True
        frame = frame.f_back
    return False


def _apart(job: Callable[[], object]) -> Iterator[object]:
    """Run a job, and forget with it which exception it was handling.

    CPython 3.11 keeps it where a trace function raises in the last line of an ``except``: all later
    failures on the thread would then be reported as raised "during handling" of that one.
    """
    yield job()


def run_traced(job: Callable[[], object], at_line: Callable[[FrameType], object]) -> None:
    """Run a job; call a function at each line that this thread, or one that begins, comes to."""
    rest = Worker("rest")
    rest.submit(int).result()  # threads that are there already cannot be traced: those end
    rest.close()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            at_line(frame)
        return trace

    before, apart = sys.gettrace(), _apart(job)
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        next(apart)
    finally:
        sys.settrace(before)
        threading.settrace(None)  # type: ignore[arg-type]


def count_lines(job: Callable[[], object]) -> int:
    """How many lines a job runs when nobody disturbs it."""
    counter = itertools.count()
    run_traced(job, lambda _: next(counter))
    return next(counter)


def interrupt(job: Callable[[], object], line: int) -> None:
    """Repeat a job until SIGINT, sent once when it comes to its line of that number, ends it."""
    counter, unsent = itertools.count(1), threading.Lock()

    def at_line(frame: FrameType) -> None:
        if next(counter) < line or _is_swallowed(frame) or not unsent.acquire(blocking=False):
            return
        if threading.current_thread() is threading.main_thread():
            signal.raise_signal(signal.SIGINT)
        else:
            os.kill(os.getpid(), signal.SIGINT)

    def go_on() -> None:
        while True:
            job()

    def send_again(unraisable: sys.UnraisableHookArgs) -> None:
        """Another thread sent it while a finalizer ran here, where Python prints it and goes on."""
        if unraisable.exc_type is KeyboardInterrupt:
            unsent.release()
        else:
            hook(unraisable)

    hook = sys.unraisablehook
    sys.unraisablehook = send_again
    try:
        with pytest.raises(KeyboardInterrupt):
            run_traced(go_on, at_line)
    finally:
        sys.unraisablehook = hook
