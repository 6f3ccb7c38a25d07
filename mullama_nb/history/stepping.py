"""Asking step by step: a real ``ask`` on a thread of its own, which is held after each stage."""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from ..engine.live import Live
from ..engine.threads.lock import WAIT_SECONDS, CancelToken, interrupts_held
from ..engine.warn import blamed_on_caller
from ..errors import HistoryError
from ..tracebacks import render_in_one_line
from .lock import TreeLock
from .stage import Stage, Stages

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Steps"]

T = TypeVar("T")


class Steps(Live, Iterator[Stage], Generic[T]):
    """The stages of an ``ask``; made by ``Chat.steps``.

    ``next`` lets it go on to the end of its next stage and returns that. In between it is held: the
    chat is as that stage left it. It can be looked at; what would change it is refused, in every
    thread, as it could wait forever. ``Chat.stop``, ``undo`` and ``checkout`` end it.

    Attributes
    ----------
    turn : Turn or None
        The answer, once it is there.
    """

    _instead_of_a_copy = "the stages are values: list(steps)"

    def __init__(self, lock: TreeLock, stages: Stages, ask: Callable[[], T]) -> None:
        self._run = _Run(lock, stages, ask)
        self._forget = weakref.finalize(self, self._run.stop)
        self.turn: T | None = None

    def __next__(self) -> Stage:
        if self._run.is_over:
            raise StopIteration
        self._run.go_on()
        stage = self._next()
        if stage is None:
            raise StopIteration
        return stage

    def _next(self) -> Stage | None:
        """Wait for a stage; None at the end. An interrupt stops it and is raised once it ended."""
        interrupt: KeyboardInterrupt | None = None
        while not self._run.is_over:
            try:
                told = self._run.told.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                continue
            except KeyboardInterrupt as error:
                interrupt = error
                with interrupts_held():
                    self._run.stop()
                continue
            if isinstance(told, Stage):
                if interrupt is None:
                    return told
            else:
                self._end(told, interrupt)
        return None

    def _end(self, told: T | BaseException, interrupt: KeyboardInterrupt | None) -> None:
        self._run.is_over = True
        self._forget.detach()
        if interrupt is not None:
            render_in_one_line(interrupt, "Interrupted: what was said is kept")
            raise interrupt
        if isinstance(told, BaseException):
            raise told
        self.turn = told

    def finish(self) -> T:
        """Let it go on to its end; return the answer.

        Raises
        ------
        HistoryError
            When it was stopped before there was one.
        """
        self._run.is_free = True
        for _ in self:
            pass
        if self.turn is None:
            raise HistoryError("it was stopped before it answered")
        return self.turn

    def close(self) -> None:
        """Stop it, as ``Chat.stop`` does: a part of an answer stays, as a checkpoint."""
        if not self._run.is_over:
            self._run.stop()
            with contextlib.suppress(HistoryError):  # it says that it was stopped
                for _ in self:
                    pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Run(Generic[T]):
    """The other side: the thread that asks. It knows nothing of ``Steps``, which may be forgotten.

    Attributes
    ----------
    told : queue
        Stages, and in the end the answer or an exception.
    is_free : bool
        Whether it is held no more.
    is_over : bool
        Whether the end was told, or it never begins.
    """

    def __init__(self, lock: TreeLock, stages: Stages, ask: Callable[[], T]) -> None:
        self.told: queue.SimpleQueue[Stage | T | BaseException] = queue.SimpleQueue()
        self.is_free = self.is_over = False
        self._lock = lock
        self._stages = stages
        self._ask = ask
        self._cancel = CancelToken()
        self._may_go = threading.Semaphore(0)
        self._has_begun = False

    def go_on(self) -> None:
        """Begin, or go on to the end of the next stage."""
        if self._lock.is_mine:
            raise HistoryError(
                "this thread holds the tree, and the question is asked by another one, which would "
                "wait for it: take steps outside of turn(), visit(), at() and callbacks"
            )
        with interrupts_held():
            if self._has_begun:
                self._may_go.release()
                return
            self._has_begun = True
            with blamed_on_caller():
                context = contextvars.copy_context()
            work = threading.Thread(
                target=context.run, args=(self._work,), name="mullama-steps", daemon=True
            )
            work.start()

    def stop(self) -> None:
        """Let it end soon with what it has."""
        self.is_free = True
        if not self._has_begun:
            self.is_over = True
        self._cancel.cancel()
        self._may_go.release()

    def _work(self) -> None:
        try:
            with self._lock.call(self._cancel), self._stages.told_to(self._tell):
                outcome: T | BaseException = self._ask()
        except BaseException as error:  # it is raised where the steps are taken
            outcome = error
        self.told.put(outcome)

    def _tell(self, stage: Stage) -> None:
        if self.is_free:
            self.told.put(stage)
            return
        with self._lock.pausing():  # before the other side hears of it
            self.told.put(stage)
            while not self._may_go.acquire(timeout=WAIT_SECONDS):
                if self._lock.is_stopped:
                    self.is_free = True
                    return
