"""The lock of a tree: one thread changes it at a time; an interrupt ends operations cleanly.

A ``KeyboardInterrupt`` between two lines of an operation would leave unrecorded tokens in the
context. So an interrupt stops the running evaluation, the operation completes with what there is,
and only then is the interrupt raised.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..engine.context import Context
from ..engine.threads.lock import CancelToken, FairLock, interrupts_held
from ..errors import HistoryError
from ..tracebacks import render_in_one_line

__all__ = ["TreeLock"]


class TreeLock:
    """A fair, re-entrant lock for operations, not available to callbacks.

    A stop reaches, from the outside in: a call made on behalf of another thread, the holding of the
    lock, the running operation, the context.

    Parameters
    ----------
    context : Context
        The context of the operations.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = FairLock()
        self._hold: CancelToken | None = None  # from the first operation of a thread to its last
        self._running: CancelToken | None = None  # the operation
        self._in_callback = False
        self._is_pausing = False
        self._calls: dict[int, CancelToken] = {}  # by the threads that do them

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread holds the lock."""
        return self._lock.is_mine()

    @property
    def is_held(self) -> bool:
        """Whether any thread holds the lock."""
        return self._lock.owner is not None

    @property
    def is_on_main_thread(self) -> bool:
        """Whether the lock is held by the main thread, which runs a notebook's cells."""
        return self._lock.owner == threading.main_thread().ident

    @property
    def is_running(self) -> bool:
        """Whether the calling thread is running an operation."""
        return self._running is not None and self.is_mine

    @property
    def is_stopped(self) -> bool:
        """Whether the holder of the lock was asked to stop."""
        return any(t is not None and t.is_cancelled for t in (self._hold, self._running))

    def is_wanted(self) -> bool:
        """Whether a thread is waiting for the lock."""
        return self._lock.is_wanted()

    def check_callback(self) -> None:
        """Check that the caller would not wait for itself.

        Raises
        ------
        HistoryError
            When a callback of a running operation calls this, or the holder pauses.
        """
        if self._is_pausing and (error := self._pause()) is not None:
            raise error
        if self._context.in_callback() or self._is_my_callback():
            raise HistoryError(
                "a callback of a running generation cannot move or change the tree, which waits "
                "for that generation; do it after the call has returned"
            )

    def _is_my_callback(self) -> bool:
        return self._in_callback and self.is_mine

    def stop(self) -> None:
        """Ask the holder of the lock to stop: its running operation and any it would start."""
        for token in (self._hold, self._running):
            if token is not None:
                token.cancel()

    @contextmanager
    def call(self, token: CancelToken) -> Iterator[None]:
        """Run the block on behalf of another thread; cancelling its token ends it soon.

        That does not affect other threads: those it waits for, or those waiting for it.
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

        Within another operation of the same thread it is part of that one. Yields the token that
        stops it.
        """
        self.check_callback()
        if self._running is not None and self.is_mine:
            yield self._running
            return
        token = CancelToken()
        try:
            with interrupts_held(token.cancel, self._is_my_callback) as pending:
                hold = self._enter(pending)
                self._running = token
                try:
                    with hold.listened(token.cancel), token.listened(self._context.stop):
                        yield token
                finally:
                    self._running = None
                    self._leave()
        except KeyboardInterrupt as interrupt:
            render_in_one_line(interrupt, "Interrupted: the tree is whole")
            raise

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
        """Hold the lock if no other thread does; yield whether it is held."""
        with self._lock.tried() as entered:
            try:
                yield entered
            finally:
                if entered:
                    self._end_hold()

    @contextmanager
    def callback(self) -> Iterator[None]:
        """Run a user's code within an operation: interruptible, and with the tree closed to it."""
        self._in_callback = True
        try:
            yield
        finally:
            self._in_callback = False

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Hold the lock in the block, for as long as somebody likes: nobody is to wait for it."""
        self._is_pausing = True
        try:
            yield
        finally:
            self._is_pausing = False

    def _pause(self) -> HistoryError | None:
        """An error if another thread holds the lock and pauses; not if it was asked to stop."""
        if not self._is_pausing or self.is_mine or self.is_stopped:
            return None
        return HistoryError(
            "a question is asked step by step, and waits for its next step: go on with "
            "next(steps), or end it with steps.finish(), steps.close() or chat.stop()"
        )

    def _enter(self, pending: list[int]) -> CancelToken:
        call = self._calls.get(threading.get_ident())

        def reason_to_give_up() -> BaseException | None:
            if pending:
                return KeyboardInterrupt()
            return _stopped() if call is not None and call.is_cancelled else self._pause()

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
