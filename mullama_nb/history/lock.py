"""The lock of a tree: one thread changes it at a time, and an interrupt ends what runs, tidily.

An operation that a ``KeyboardInterrupt`` broke off between two lines would leave tokens in the
context that nobody wrote down. So an interrupt stops what is being evaluated, the operation
completes with what there is, and only then the interrupt is raised.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..engine.context import Context
from ..engine.lock import WAIT_SECONDS, interrupts_held
from ..errors import HistoryError

__all__ = ["Call", "Operation", "TreeLock"]


class Operation:
    """One operation, from its call to its end; it can be stopped at any time in between.

    Parameters
    ----------
    context : Context

    Attributes
    ----------
    is_stopped : bool
    is_running : bool
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.is_stopped = False
        self.is_running = False

    def stop(self) -> None:
        """Have it end soon with what it has; takes no lock, so a signal handler may call it."""
        self.is_stopped = True
        if self.is_running:
            self._context.stop()


class _Hold:
    """One time that a thread holds the lock, from the first operation to the last."""

    is_stopped = False


class Call:
    """All that one thread does for a caller elsewhere, who may stop it.

    Stopping it leaves others alone: those that it waits for, and those that wait for it.
    """

    def __init__(self, lock: TreeLock) -> None:
        self.is_stopped = False
        self.hold: _Hold | None = None
        self._lock = lock

    def stop(self) -> None:
        """Have it end soon, whether it has the lock, waits for it or has not begun."""
        self.is_stopped = True
        running = self._lock.running
        if self.hold is not None:
            self.hold.is_stopped = True
            if running is not None and self._lock.is_held_by(self.hold):
                running.stop()


class TreeLock:
    """A lock for operations, handed to whoever waited; re-entrant, and closed to callbacks.

    Parameters
    ----------
    context : Context
        What operations evaluate on.

    Attributes
    ----------
    running : Operation or None
        The operation that holds the lock.
    """

    def __init__(self, context: Context) -> None:
        self.running: Operation | None = None
        self._context = context
        self._turnstile = threading.Lock()
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._hold: _Hold | None = None
        self._depth = 0
        self._in_callback = False
        self._calls: dict[int, Call] = {}  # by the threads that do them

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread holds the lock."""
        return self._owner == threading.get_ident()

    @property
    def is_on_main_thread(self) -> bool:
        """Whether the main thread holds the lock, which runs a notebook's cells."""
        return self._owner == threading.main_thread().ident

    def check_callback(self) -> None:
        """Refuse what a callback must not do: it would wait for the operation that calls it.

        Raises
        ------
        HistoryError
            When a callback of a running operation calls this.
        """
        if self._context.in_callback() or (self._in_callback and self.is_mine):
            raise HistoryError(
                "a callback of a running generation cannot move or change the tree, which waits "
                "for that generation; do it after the call has returned"
            )

    @property
    def is_stopped(self) -> bool:
        """Whether whoever holds the lock was asked to end."""
        hold, running = self._hold, self.running
        return (hold is not None and hold.is_stopped) or (
            running is not None and running.is_stopped
        )

    def stop(self) -> None:
        """Have whoever holds the lock end soon: what runs, and what it would begin after that."""
        hold = self._hold
        if hold is not None:
            hold.is_stopped = True
        running = self.running
        if running is not None:
            running.stop()

    def is_held_by(self, hold: object) -> bool:
        """Whether the lock is still held since then."""
        return self._hold is hold

    @contextmanager
    def call(self, call: Call) -> Iterator[None]:
        """Do what is within for a call: once that is stopped, it waits for nothing."""
        me = threading.get_ident()
        self._calls[me] = call
        try:
            yield
        finally:
            del self._calls[me]

    # -- hold --------------------------------------------------------------------------------

    @contextmanager
    def operation(self, operation: Operation | None = None) -> Iterator[Operation]:
        """Hold the lock; an interrupt stops the operation and is raised when the block is left.

        Within another operation of the same thread this is a part of that one.
        """
        self.check_callback()
        if self.running is not None and self.is_mine:
            yield self.running
            return
        operation = Operation(self._context) if operation is None else operation
        with self._interrupts_stop(operation) as pending:
            self._enter(pending)
            self.running, operation.is_running = operation, True
            operation.is_stopped |= self.is_stopped
            try:
                yield operation
            finally:
                self.running, operation.is_running = None, False
                self._leave()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the lock for several operations; an interrupt between them is raised at once."""
        self.check_callback()
        if self.running is not None and self.is_mine:
            yield
            return
        entered = False
        try:
            with interrupts_held() as pending:
                self._enter(pending)
                entered = True
            yield
        finally:
            if entered:
                self._leave()

    @contextmanager
    def free(self) -> Iterator[bool]:
        """Hold the lock if no other thread does; yields whether that is so."""
        with interrupts_held():
            entered = self.is_mine or self._lock.acquire(blocking=False)
            if entered:
                self._owner = threading.get_ident()
                self._depth += 1
            try:
                yield entered
            finally:
                if entered:
                    self._leave()

    @contextmanager
    def callback(self) -> Iterator[None]:
        """Run somebody's code within an operation: interrupts reach it, and the tree is closed."""
        self._in_callback = True
        try:
            yield
        finally:
            self._in_callback = False

    def _enter(self, pending: list[int]) -> None:
        if not self.is_mine:
            call = self._calls.get(threading.get_ident())
            for lock in (self._turnstile, self._lock):
                while not lock.acquire(timeout=WAIT_SECONDS):
                    if pending or (call is not None and call.is_stopped):
                        if lock is self._lock:
                            self._turnstile.release()
                        raise KeyboardInterrupt if pending else _stopped()
            self._turnstile.release()
            hold = _Hold()
            if call is not None:
                call.hold = hold
                if call.is_stopped:
                    self._lock.release()
                    raise _stopped()
            self._owner, self._hold = threading.get_ident(), hold
        self._depth += 1

    def _leave(self) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = self._hold = None
            self._lock.release()

    @contextmanager
    def _interrupts_stop(self, operation: Operation) -> Iterator[list[int]]:
        """Have interrupts stop a operation, and raise them afterwards; yields those that came.

        Only the main thread receives interrupts, so elsewhere this does nothing.
        """
        pending: list[int] = []
        if threading.current_thread() is not threading.main_thread():
            yield pending
            return
        before, last_frame = signal.getsignal(signal.SIGINT), None

        def stop(number: int, frame: FrameType | None) -> None:
            nonlocal last_frame
            if self._in_callback and self.is_mine and callable(before):
                before(number, frame)
            elif before != signal.SIG_IGN:
                last_frame = frame
                pending.append(number)
                operation.stop()

        signal.signal(signal.SIGINT, stop)
        try:
            yield pending
        finally:
            signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
            if pending:
                if callable(before):
                    before(signal.SIGINT, last_frame)
                else:
                    signal.raise_signal(signal.SIGINT)


def _stopped() -> HistoryError:
    return HistoryError("it was stopped before its turn came; nothing was changed")
