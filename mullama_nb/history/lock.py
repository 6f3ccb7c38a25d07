"""The lock of a tree: one thread changes it at a time, and an interrupt ends what runs, tidily.

An operation that a ``KeyboardInterrupt`` broke off between two lines would leave tokens in the
context that nobody wrote down. So an interrupt stops what is being evaluated, the operation
completes with what there is, and only then the interrupt is raised.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..engine.context import Context
from ..engine.lock import CancelToken, FairLock, interrupts_held
from ..errors import HistoryError

__all__ = ["TreeLock"]


class TreeLock:
    """A fair, re-entrant lock for operations, which is closed to callbacks.

    What was asked to stop hears of it from the outside in: a call that one thread does for a caller
    elsewhere, the time that it holds the lock, the operation that runs, the context.

    Parameters
    ----------
    context : Context
        What operations evaluate on.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = FairLock()
        self._hold: CancelToken | None = None  # from the first operation of a thread to its last
        self._running: CancelToken | None = None  # the operation
        self._in_callback = False
        self._calls: dict[int, CancelToken] = {}  # by the threads that do them

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread holds the lock."""
        return self._lock.is_mine()

    @property
    def is_on_main_thread(self) -> bool:
        """Whether the main thread holds the lock, which runs a notebook's cells."""
        return self._lock.owner == threading.main_thread().ident

    @property
    def is_running(self) -> bool:
        """Whether the calling thread runs an operation."""
        return self._running is not None and self.is_mine

    @property
    def is_stopped(self) -> bool:
        """Whether what holds the lock was asked to end."""
        return any(t is not None and t.is_cancelled for t in (self._hold, self._running))

    def is_wanted(self) -> bool:
        """Whether a thread waits for the lock."""
        return self._lock.is_wanted()

    def check_callback(self) -> None:
        """Refuse what a callback must not do: it would wait for the operation that calls it.

        Raises
        ------
        HistoryError
            When a callback of a running operation calls this.
        """
        if self._context.in_callback() or self._is_my_callback():
            raise HistoryError(
                "a callback of a running generation cannot move or change the tree, which waits "
                "for that generation; do it after the call has returned"
            )

    def _is_my_callback(self) -> bool:
        return self._in_callback and self.is_mine

    def stop(self) -> None:
        """Have what holds the lock end soon: what runs, and what it would begin after that."""
        for token in (self._hold, self._running):
            if token is not None:
                token.cancel()

    @contextmanager
    def call(self, token: CancelToken) -> Iterator[None]:
        """Do what is within for a caller elsewhere: once its token is cancelled, it ends soon.

        That leaves others alone: those that it waits for, and those that wait for it.
        """
        me = threading.get_ident()
        self._calls[me] = token
        try:
            yield
        finally:
            del self._calls[me]

    # -- hold --------------------------------------------------------------------------------

    @contextmanager
    def operation(self) -> Iterator[CancelToken]:
        """Hold the lock; an interrupt stops the operation and is raised when the block is left.

        Within another operation of the same thread this is a part of that one. Yields what stops
        it.
        """
        self.check_callback()
        if self._running is not None and self.is_mine:
            yield self._running
            return
        token = CancelToken()
        with interrupts_held(token.cancel, self._is_my_callback) as pending:
            hold = self._enter(pending)
            self._running = token
            try:
                with hold.listened(token.cancel), token.listened(self._context.stop):
                    yield token
            finally:
                self._running = None
                self._leave()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the lock for several operations; an interrupt between them is raised at once."""
        self.check_callback()
        if self._running is not None and self.is_mine:
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
                with interrupts_held():
                    self._leave()

    @contextmanager
    def free(self) -> Iterator[bool]:
        """Hold the lock if no other thread does; yields whether that is so."""
        with self._lock.tried() as entered:
            try:
                yield entered
            finally:
                if entered:
                    self._end_hold()

    @contextmanager
    def callback(self) -> Iterator[None]:
        """Run a user's code within an operation: interrupts reach it, and the tree is closed."""
        self._in_callback = True
        try:
            yield
        finally:
            self._in_callback = False

    def _enter(self, pending: list[int]) -> CancelToken:
        call = self._calls.get(threading.get_ident())

        def reason_to_give_up() -> BaseException | None:
            if pending:
                return KeyboardInterrupt()
            return _stopped() if call is not None and call.is_cancelled else None

        self._lock.acquire(reason_to_give_up)
        if self._hold is None:
            hold = self._hold = CancelToken()
            if call is not None:
                call.add_listener(hold.cancel)
                if call.is_cancelled:
                    self._leave()
                    raise _stopped()
        return self._hold

    def _leave(self) -> None:
        self._end_hold()
        self._lock.release()

    def _end_hold(self) -> None:
        if self._lock.depth == 1 and self._hold is not None:
            call = self._calls.get(threading.get_ident())
            if call is not None:
                call.remove_listener(self._hold.cancel)
            self._hold = None


def _stopped() -> HistoryError:
    return HistoryError("it was stopped before its turn came; nothing was changed")
