"""A fair lock, deferred interrupts, and requests to stop.

A ``KeyboardInterrupt`` arrives between any two bytecodes of the main thread. Short changes on the
caller's thread therefore defer interrupts until they are complete.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["WAIT_SECONDS", "CancelToken", "FairLock", "interrupts_held"]

WAIT_SECONDS = 0.1
"""Waits are cut into pieces: on Windows an interrupt does not end a wait."""


class CancelToken:
    """A request to stop one call, valid until the end of that call.

    It is set once and stays set. It takes no lock, so that a signal handler may set it.

    Attributes
    ----------
    is_cancelled : bool
    """

    def __init__(self) -> None:
        self.is_cancelled = False
        self._listeners: list[Callable[[], object]] = []

    def cancel(self) -> None:
        """Make the call end soon with what it has, whether it has begun or not."""
        self.is_cancelled = True
        for listener in tuple(self._listeners):
            listener()

    def add_listener(self, listener: Callable[[], object]) -> None:
        """Call a function on :meth:`cancel`, or at once if that was called before."""
        self._listeners.append(listener)
        if self.is_cancelled:
            listener()

    def remove_listener(self, listener: Callable[[], object]) -> None:
        """Remove a function."""
        with contextlib.suppress(ValueError):
            self._listeners.remove(listener)

    @contextlib.contextmanager
    def listened(self, listener: Callable[[], object]) -> Iterator[None]:
        """Call a function on cancellation while the block runs, or at once if that came before."""
        try:
            self.add_listener(listener)
            yield
        finally:
            self.remove_listener(listener)


def interrupts_held(
    on_interrupt: Callable[[], object] | None = None,
    lets_through: Callable[[], bool] | None = None,
) -> contextlib.AbstractContextManager[list[int]]:
    """Return a block that defers SIGINT until it is left; it gives the list of signals received.

    Only the main thread receives interrupts, so elsewhere it does nothing.

    Parameters
    ----------
    on_interrupt : callable, optional
        Called on each deferred interrupt.
    lets_through : callable, optional
        Returns whether interrupts should reach the previous handler at present.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return contextlib.nullcontext([])
    return _Block(on_interrupt, lets_through)


class _Handler:
    """The handler of SIGINT within nested blocks: the innermost one receives the signal.

    A move in a tree enters about twenty blocks, most of them nested. Only the outermost one
    replaces the handler, which takes longer than the rest of a block.
    """

    def __init__(self, previous: Any, innermost: _Block) -> None:
        self.previous = previous
        self.innermost: _Block | None = innermost

    def __call__(self, number: int, frame: FrameType | None) -> None:
        receive = self.previous if self.innermost is None else self.innermost.receive
        if callable(receive):
            receive(number, frame)


class _Block:
    """One block that defers interrupts; what it received goes to the enclosing one in the end."""

    __slots__ = (
        "_enclosing",
        "_frame",
        "_handler",
        "_lets_through",
        "_on_interrupt",
        "_previous",
        "pending",
    )

    def __init__(
        self,
        on_interrupt: Callable[[], object] | None,
        lets_through: Callable[[], bool] | None,
    ) -> None:
        self.pending: list[int] = []
        self._on_interrupt = on_interrupt
        self._lets_through = lets_through
        self._frame: FrameType | None = None
        self._enclosing: _Block | None = None

    def __enter__(self) -> list[int]:
        found: Any = signal.getsignal(signal.SIGINT)
        if isinstance(found, _Handler) and found.innermost is not None:
            self._handler, self._enclosing = found, found.innermost
            self._previous = found.innermost.receive
            found.innermost = self
        else:
            self._handler, self._previous = _Handler(found, self), found
            signal.signal(signal.SIGINT, self._handler)
        return self.pending

    def __exit__(self, *_: object) -> None:
        previous = self._previous
        if self._enclosing is None:
            signal.signal(signal.SIGINT, signal.SIG_DFL if previous is None else previous)
        self._handler.innermost = self._enclosing
        if self.pending:
            if callable(previous):
                previous(signal.SIGINT, self._frame)
            else:
                signal.raise_signal(signal.SIGINT)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Defer a signal, or let it through."""
        previous = self._previous
        if self._lets_through is not None and callable(previous) and self._lets_through():
            previous(number, frame)
        elif self._handler.previous != signal.SIG_IGN:
            self._frame = frame
            self.pending.append(number)
            if self._on_interrupt is not None:
                self._on_interrupt()


class FairLock:
    """A re-entrant lock that is handed to the thread that waits.

    A loop that releases and retakes Python's own lock, as a generation does at each token, can
    starve waiting threads. Here a waiter holds the turnstile that the loop must pass.

    Attributes
    ----------
    owner : int or None
        The thread that holds it.
    depth : int
        How often the owner has taken it.
    """

    def __init__(self) -> None:
        self.owner: int | None = None
        self.depth = 0
        self._turnstile = threading.Lock()
        self._lock = threading.Lock()

    def held(self) -> contextlib.AbstractContextManager[object]:
        """Hold the lock, with interrupts deferred."""
        if threading.current_thread() is threading.main_thread():
            return self._held_without_interrupts()
        return self

    @contextlib.contextmanager
    def _held_without_interrupts(self) -> Iterator[None]:
        with interrupts_held() as pending:
            self.acquire(lambda: KeyboardInterrupt() if pending else None)
            try:
                yield
            finally:
                self.release()

    @contextlib.contextmanager
    def tried(self) -> Iterator[bool]:
        """Hold the lock if no other thread does; yield whether it is held."""
        with interrupts_held():
            entered = self.is_mine() or self._lock.acquire(blocking=False)
            if entered:
                self.owner = threading.get_ident()
                self.depth += 1
            try:
                yield entered
            finally:
                if entered:
                    self.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def is_mine(self) -> bool:
        """Return whether the calling thread holds the lock."""
        return self.owner == threading.get_ident()

    def is_wanted(self) -> bool:
        """Return whether a thread is waiting for the lock."""
        return self._turnstile.locked()

    def acquire(self, reason_to_give_up: Callable[[], BaseException | None] | None = None) -> None:
        """Take the lock; interrupts must be deferred.

        Parameters
        ----------
        reason_to_give_up : callable, optional
            Called now and then while waiting: returns an exception to raise instead.
        """
        me = threading.get_ident()
        if self.owner != me:
            for lock in (self._turnstile, self._lock):
                while not lock.acquire(timeout=WAIT_SECONDS):
                    reason = None if reason_to_give_up is None else reason_to_give_up()
                    if reason is not None:
                        if lock is self._lock:
                            self._turnstile.release()
                        raise reason
            self._turnstile.release()
            self.owner = me
        self.depth += 1

    def release(self) -> None:
        """Undo one :meth:`acquire`."""
        self.depth -= 1
        if self.depth == 0:
            self.owner = None
            self._lock.release()
