"""Scheduling access to the path: evaluations one at a time, moves between two tokens.

Evaluations are jobs of one worker thread. Moves (rewind, restore, load) run on the caller's thread
under the same lock, which the worker gives up at every token; they end what is being generated.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_all
from typing import Any, Protocol, TypeVar

from ..errors import ContextClosedError, ContextError
from ..state.segment import Segment
from ..tracebacks import render_in_one_line
from .cells import Cells
from .decoder import Aborted
from .path import ActivePath
from .path_state import PathState
from .threads.awaiting import awaited
from .threads.lock import WAIT_SECONDS, CancelToken, FairLock, interrupts_held
from .threads.worker import Worker

__all__ = ["Scheduler", "Steps"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
StepsT = TypeVar("StepsT", bound="Steps[Any] | None")


class Steps(Protocol[T_co]):
    """A stepwise process on the path: a generation, or several branches.

    Every method is called under the scheduler's lock.
    """

    @property
    def n_handed_out(self) -> int:
        """The number of tokens of the path as seen by callers."""

    @property
    def handed_out(self) -> tuple[int, ...]:
        """The tokens of the path as seen by callers."""

    def step(self) -> T_co | None:
        """Return what the next step hands out, or None at the end."""

    def evaluate_ahead(self) -> None:
        """Evaluate what the next step would begin with."""

    def synchronise(self) -> None:
        """Make the path hold exactly what was handed out; it may go on."""

    def close(self) -> None:
        """End here, with exactly what was handed out."""

    def abandon(self) -> None:
        """End here, as :meth:`close` does, where the path is not needed any more."""


class Scheduler:
    """Runs jobs on a path, one at a time.

    Parameters
    ----------
    path : ActivePath
    cells : Cells
        Where the path's memory comes from.
    """

    def __init__(self, path: ActivePath, cells: Cells) -> None:
        self.path = path
        self._cells = cells
        self._abort = cells.abort
        self._rows_at_rest: PathState | Segment | None = None
        self._lock = FairLock()
        self._worker = Worker("mullama-context")
        self._n_movers = 0  # waiting to move the path; changed under `_counting`
        self._counting = threading.Lock()
        self._running: CancelToken | None = None
        self._steps: Steps[Any] | None = None
        self._ahead: tuple[Steps[Any], Future[None]] | None = None
        self._process = os.getpid()
        self._closed = False

    # -- look --------------------------------------------------------------------------------

    @property
    def n_tokens(self) -> int:
        """How many tokens the path holds, those that a stream handed out last included."""
        steps, n_tokens = self._steps, self.path.n_tokens
        return n_tokens if steps is None else steps.n_handed_out

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens that the path holds; what a generation holds back is not among them."""
        while True:
            steps, tokens = self._steps, tuple(self.path.tokens)
            if steps is not None:
                tokens = steps.handed_out
            if steps is self._steps:
                return tokens

    # -- use and rest ------------------------------------------------------------------------

    def check_usable(self) -> None:
        """Refuse a closed context, and one that a forked process inherited."""
        if self._closed:
            raise ContextClosedError("the context was closed; make a new one")
        if os.getpid() != self._process:
            raise ContextClosedError(
                "the context belongs to the process that made it, and this is a fork of that one: "
                "llama.cpp's threads do not exist here. Make contexts after forking, or use the "
                "'spawn' start method"
            )

    def _get_ready(self) -> None:
        """Check that the path can be used, and wake it; the lock is held."""
        self.check_usable()
        if self._cells.are_free:
            memory = self._cells.make()
            try:
                self.path.put_back(memory, self._rows_at_rest)
            except BaseException:
                self._cells.free()
                raise
            self._rows_at_rest = None

    def rest(self) -> bool:
        """Free the cells until the path is needed; False where that is not possible at present."""
        if self._closed or os.getpid() != self._process or self._lock.is_mine():
            return False
        with self._lock.tried() as is_free:
            if not is_free or self._steps is not None or not self.path.can_rest:
                return False
            if not self._cells.are_free:
                self._rows_at_rest = self.path.set_aside()
                self._cells.free()
        self._worker.rest()
        return True

    @property
    def is_resting(self) -> bool:
        """Whether the cells are free until the path is needed."""
        return self._cells.are_free and not self._closed

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self) -> None:
        """End everything; the cells may be freed afterwards."""
        if not self._closed and os.getpid() == self._process:
            self._check_not_within()
            with interrupts_held(), self._lock_to_move():
                if self._steps is not None:
                    self._steps.abandon()
                self._closed = True
                self._rows_at_rest = None
            self._worker.close()
            if not self._cells.are_free:
                self._cells.free()

    # -- the path between two tokens ---------------------------------------------------------

    def _check_not_within(self) -> None:
        if self._lock.is_mine():
            raise ContextError(
                "a progress callback cannot use the context that is being evaluated; "
                "do it after the call has returned"
            )

    @contextlib.contextmanager
    def held(self) -> Iterator[ActivePath]:
        """The path between two tokens, to look at."""
        self.check_usable()
        self._check_not_within()
        self._await_ahead()
        with self._lock.held():
            self._get_ready()
            self._synchronise()
            yield self.path

    @contextlib.contextmanager
    def moving(self) -> Iterator[ActivePath]:
        """The path between two tokens, to change; ends what is being generated."""
        self.check_usable()
        self._check_not_within()
        self._await_ahead()
        with interrupts_held(), self._lock_to_move():
            self._get_ready()
            self._settle()
            yield self.path

    @contextlib.contextmanager
    def _lock_to_move(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            with self._wanted():
                stack.enter_context(self._lock.held())
            yield

    @contextlib.contextmanager
    def _wanted(self) -> Iterator[None]:
        """Make a long prompt give way; whole tokens do not."""
        with self._counting:
            self._n_movers += 1
            self._abort.set()
        try:
            yield
        finally:
            with self._counting:
                self._n_movers -= 1
                running = self._running
                if not self._n_movers and not (running is not None and running.is_cancelled):
                    self._abort.clear()

    def call(self, job: Callable[[ActivePath], T]) -> T:
        """Run a short job on the worker, between two requests, and wait for it."""
        future = self.submit(lambda: self._locked(job))
        return self._worker.wait(future, future.cancel)

    def _locked(self, job: Callable[[ActivePath], T]) -> T:
        with self._lock.held():
            self._get_ready()
            self._synchronise()
            return job(self.path)

    # -- requests ----------------------------------------------------------------------------

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Queue a job that takes the lock by itself."""
        self.check_usable()
        try:
            return self._worker.submit(job)
        except RuntimeError:
            self.check_usable()  # it may have been closed just now
            raise

    def wait(self, job: Callable[[], T], token: CancelToken) -> T:
        """Queue a job and wait for it; an interrupt stops it and is raised when it ended."""
        future: Future[T] | None = None

        def stop() -> None:
            if future is None or not future.cancel():
                token.cancel()

        try:
            with interrupts_held():
                future = self.submit(job)
            return self._worker.wait(future, stop)
        except KeyboardInterrupt as interrupt:  # it may have come before the waiting began
            render_in_one_line(interrupt, "Interrupted: the context keeps what was evaluated")
            with interrupts_held():
                stop()
                if future is not None and not future.cancelled():
                    wait_for_all([future])
            raise

    async def await_(self, job: Callable[[], T], token: CancelToken) -> T:
        """Queue a job and await it; a cancellation stops it and is raised when it ended."""
        return await awaited(self.submit(job), token.cancel)

    def in_callback(self) -> bool:
        """Return whether the caller is the worker, in a callback of its own job."""
        return self._worker.is_current()

    def stop(self) -> None:
        """End what is being evaluated or generated."""
        running = self._running
        if running is not None:
            running.cancel()

    def _set_running(self, token: CancelToken | None) -> None:
        """Let one request, or none, be what :meth:`stop` ends; the lock is held."""
        if self._running is not None:
            self._running.remove_listener(self._abort.set)
        self._running = token
        with self._counting:
            if not self._n_movers:
                self._abort.clear()  # it was meant for something that ended
        if token is not None:
            token.add_listener(self._abort.set)

    def look(self, job: Callable[[ActivePath], T], token: CancelToken) -> T | None:
        """Run a long job that leaves the path as it is, None when stopped; runs on the worker."""
        with self._lock.held():
            self._get_ready()
            self._synchronise()
            running = self._running
            self._set_running(token)
            try:
                return None if token.is_cancelled else job(self.path)
            except Aborted:
                return None
            finally:
                self._set_running(running)

    # -- steps -------------------------------------------------------------------------------

    def open(self, make: Callable[[ActivePath], StepsT], token: CancelToken) -> StepsT:
        """End what goes on and begin something else; runs on the worker.

        Parameters
        ----------
        make : callable
            Gives the steps; None where there are none.
        token : CancelToken
            Ends them.
        """
        with self._lock.held():
            self._get_ready()
            self._settle()
            self._set_running(token)
            try:
                self._steps = steps = make(self.path)
            except BaseException:
                self._set_running(None)
                raise
            if steps is None:
                self._set_running(None)
            return steps

    def advance(self, steps: Steps[T], token: CancelToken) -> T | None:
        """Take one step; return None at the end."""
        with self._lock.held():
            return self._advance(steps, token)

    def _advance(self, steps: Steps[T], token: CancelToken) -> T | None:
        if self._steps is not steps or self._closed:
            return None
        if token.is_cancelled:
            self._settle()
            return None
        handed_out = steps.step()
        if handed_out is None:
            self._steps = None
            self._set_running(None)
        return handed_out

    def advance_to_end(self, steps: Steps[Any], token: CancelToken) -> None:
        """Take all steps; the lock is let go when another thread wants it."""
        goes_on = True
        while goes_on:
            with self._lock.held():
                while goes_on := self._advance(steps, token) is not None:
                    if self._lock.is_wanted():
                        break

    def advance_ahead(self, steps: Steps[T], token: CancelToken) -> T | None:
        """Take one step on the caller's thread, while the worker evaluates its result."""
        self.check_usable()
        self._await_ahead()
        handed_out = self.advance(steps, token)
        if handed_out is not None:
            self._ahead = steps, self.submit(lambda: self._evaluate_ahead(steps))
        return handed_out

    def _evaluate_ahead(self, steps: Steps[Any]) -> None:
        with self._lock.held():
            if self._steps is steps and not self._closed:
                steps.evaluate_ahead()

    def _await_ahead(self) -> None:
        """Let the worker evaluate what a stream handed out, as long as that stream goes on."""
        ahead = self._ahead
        while ahead and not self.in_callback() and self._steps is ahead[0]:
            with interrupts_held():  # or one could leave the future's lock taken
                if wait_for_all([ahead[1]], WAIT_SECONDS).done:
                    return

    def finish(self, steps: Steps[Any]) -> None:
        """End steps where they stand."""
        if os.getpid() != self._process:
            return
        with self._lock.held():
            if self._steps is steps and not self._closed:
                self._settle()

    def _settle(self) -> None:
        """End what goes on with exactly what it handed out in the path."""
        steps, self._steps = self._steps, None
        if self._running is not None:
            self._set_running(None)
        if steps is not None:
            steps.close()

    def _synchronise(self) -> None:
        """Make the path hold exactly what was handed out; what goes on may go on."""
        if self._steps is not None:
            self._steps.synchronise()
