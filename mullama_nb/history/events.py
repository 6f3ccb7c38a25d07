"""Events of a tree, one small value per change, delivered in order on a thread of their own."""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = [
    "AdaptersChanged",
    "Committed",
    "Event",
    "Moved",
    "Observers",
    "Progress",
    "Pruned",
    "Recalled",
    "SettingsChanged",
    "Spilled",
    "Split",
    "Subscription",
    "Tagged",
    "TokenAdded",
]

_log = logging.getLogger("mullama_nb")


@dataclass(frozen=True)
class Committed:
    """A checkpoint was added.

    Attributes
    ----------
    checkpoint, parent : str
        Their ids.
    is_head : bool
        Whether the head moved there; an exploration's answers leave it where it was.
    """

    checkpoint: str
    parent: str
    is_head: bool = True


@dataclass(frozen=True)
class Split:
    """A checkpoint was split: ``checkpoint`` keeps the end, ``first`` is its new parent."""

    checkpoint: str
    first: str


@dataclass(frozen=True)
class Moved:
    """The head moved.

    A move over rows that are lost tells of each checkpoint where they were worked out again.

    Attributes
    ----------
    head, before : str
        Ids of checkpoints.
    n_evaluated : int
        Tokens that were evaluated again for it, as their rows were lost.
    bytes_restored : int
        Bytes of rows that were put back into the context.
    seconds : float
        What it took; not compared.
    """

    head: str
    before: str
    n_evaluated: int = 0
    bytes_restored: int = 0
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class AdaptersChanged:
    """Other adapters are on; the head is where it was."""

    head: str


@dataclass(frozen=True)
class SettingsChanged:
    """Answers are sampled with other parameters from now on, or have other limits."""


@dataclass(frozen=True)
class Tagged:
    """A tag was set on a checkpoint, or removed if that is None."""

    tag: str
    checkpoint: str | None


@dataclass(frozen=True)
class Pruned:
    """Checkpoints were removed."""

    checkpoints: tuple[str, ...]


@dataclass(frozen=True)
class Spilled:
    """Rows of a checkpoint moved out of memory."""

    checkpoint: str


@dataclass(frozen=True)
class Recalled:
    """Rows of a checkpoint were read back into memory, or worked out again."""

    checkpoint: str


@dataclass(frozen=True)
class Progress:
    """Tokens of a prompt evaluated so far, and in all."""

    evaluated: int
    total: int


@dataclass(frozen=True)
class TokenAdded:
    """A token was generated.

    Attributes
    ----------
    token : int
    text : str
        The text to show for it, as of ``Token``.
    logprob : float
    branch : int or None
        Counts the answers of an exploration, in order, or as they come from elsewhere; None outside
        one.
    part : {"text", "reasoning", "tool_call"}
        What it belongs to, as of ``Token``.
    is_elsewhere : bool
        Whether another process decoded it: its row is in no cell here.
    question : str or None
        The id of the checkpoint that an exploration's answer follows; None outside one.
    position : int or None
        Its place in the context; None for an exploration's.
    """

    token: int
    text: str
    logprob: float
    branch: int | None = None
    part: Literal["text", "reasoning", "tool_call"] = "text"
    is_elsewhere: bool = False
    question: str | None = None
    position: int | None = None


Event: TypeAlias = (
    Committed
    | Split
    | Moved
    | AdaptersChanged
    | SettingsChanged
    | Tagged
    | Pruned
    | Spilled
    | Recalled
    | Progress
    | TokenAdded
)


class Subscription:
    """The registration of an observer; ``cancel`` ends it.

    Attributes
    ----------
    is_cancelled : bool
    """

    def __init__(self, observers: Observers, callback: Callable[[Event], object]) -> None:
        self._observers = weakref.ref(observers)
        self._callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        """Receive no more events, not even those already queued."""
        self.is_cancelled = True
        observers = self._observers()
        if observers is not None:
            observers.remove(self)

    def deliver(self, event: Event) -> None:
        """Call the observer; its exceptions are logged."""
        if self.is_cancelled:
            return
        try:
            self._callback(event)
        except BaseException:  # even SystemExit ends no more than this call
            _log.exception("an observer failed on %s", event)


_Delivery: TypeAlias = tuple[Event, Sequence[Subscription]]
_Queue: TypeAlias = "queue.SimpleQueue[_Delivery | threading.Event | None]"


class Observers:
    """Notifies callbacks of events in order, on one thread that lives while there are callbacks."""

    def __init__(self) -> None:
        self._subscriptions: tuple[Subscription, ...] = ()
        self._queue: _Queue = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()  # a subscription may end while Python collects garbage

    def add(self, callback: Callable[[Event], object]) -> Subscription:
        """Call a function for all later events."""
        subscription = Subscription(self, callback)
        with self._lock:
            if self._thread is None:
                self._queue = queue.SimpleQueue()
                # It knows the queue alone, so that it keeps nothing alive.
                self._thread = threading.Thread(
                    target=_deliver, args=(self._queue,), name="mullama-observers", daemon=True
                )
                self._thread.start()
            self._subscriptions = tuple(
                s for s in (*self._subscriptions, subscription) if not s.is_cancelled
            )
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Stop notifying a callback."""
        with self._lock:
            self._subscriptions = tuple(
                s for s in self._subscriptions if s is not subscription and not s.is_cancelled
            )
            if not self._subscriptions and self._thread is not None:
                self._thread = None
                self._queue.put(None)

    def notify(self, event: Event) -> None:
        """Queue an event for the present observers; costs a microsecond."""
        subscriptions = self._subscriptions
        if subscriptions:
            self._queue.put((event, subscriptions))

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until every event so far was delivered; return False on timeout."""
        with self._lock:
            thread = self._thread
            if thread is None or thread is threading.current_thread():
                return True
            delivered = threading.Event()
            self._queue.put(delivered)
        return delivered.wait(timeout)

    def __del__(self) -> None:
        self._queue.put(None)


def _deliver(events: _Queue) -> None:
    while _deliver_next(events):  # a call of its own, so that waiting keeps nothing alive
        pass


def _deliver_next(events: _Queue) -> bool:
    item = events.get()
    if isinstance(item, threading.Event):
        item.set()
    elif item is not None:
        event, subscriptions = item
        for subscription in subscriptions:
            subscription.deliver(event)
    return item is not None
