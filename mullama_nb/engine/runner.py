"""Who may touch the path when: one evaluation after the other, moves between two tokens.

Evaluations are jobs of one worker thread. Moves (rewind, restore, load) run on the caller's thread
under the same lock, which the worker gives up at every token; they end what is being generated.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_all
from typing import Any, Protocol, TypeVar

from ..errors import ContextClosedError, ContextError
from ..state.segment import Segment
from .awaiting import awaited
from .cells import Cells
from .generation import Completion, Generation, Token
from .lock import WAIT_SECONDS, FairLock, interrupts_held
from .memory import Aborted
from .model import Model
from .path import ActivePath, PathState
from .prompt import plan_prompt
from .request import Request, Run, Ticket
from .worker import Worker

__all__ = ["Opened", "Runner"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
OpenedT = TypeVar("OpenedT", bound="Opened[Any]")


class Opened(Protocol[T_co]):
    """What goes on behind the path, step by step: a generation, or several branches."""

    @property
    def n_handed_out(self) -> int:
        """How many tokens there are for whoever looks."""

    @property
    def handed_out(self) -> tuple[int, ...]:
        """The tokens that there are for whoever looks."""

    def step(self) -> T_co | None:
        """What the next step hands out, None at the end."""

    def synchronise(self) -> None:
        """Make the path hold exactly what was handed out."""

    def close(self) -> None:
        """End here."""


class Runner:
    """Runs requests on a path.

    Parameters
    ----------
    path : ActivePath
    model : Model
    cells : Cells
        Where the path's memory comes from.
    """

    def __init__(self, path: ActivePath, model: Model, cells: Cells) -> None:
        self.path = path
        self._model = model
        self._cells = cells
        self._abort = cells.abort
        self._aside: PathState | Segment | None = None  # while it rests
        self._lock = FairLock()
        self._worker = Worker("mullama-context")
        self._movers = 0  # waiting to move the path; changed under `_counting`
        self._counting = threading.Lock()
        self._active: Ticket | None = None
        self._open: Opened[Any] | None = None
        self._ahead: tuple[Generation, Future[None]] | None = None
        self._process = os.getpid()
        self._closed = False

    # -- look --------------------------------------------------------------------------------

    @property
    def n_tokens(self) -> int:
        """How many tokens the path holds, those that a stream handed out last included."""
        generation, n_tokens = self._open, self.path.n_tokens
        return n_tokens if generation is None else generation.n_handed_out

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens that the path holds; what a generation holds back is not among them."""
        while True:
            generation, tokens = self._open, tuple(self.path.tokens)
            if generation is not None:
                tokens = generation.handed_out
            if generation is self._open:
                return tokens

    # -- order -------------------------------------------------------------------------------

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
                self.path.put_back(memory, self._aside)
            except BaseException:
                self._cells.free()
                raise
            self._aside = None

    def rest(self) -> bool:
        """Free the cells until somebody needs the path; False where that cannot be just now."""
        if self._closed or os.getpid() != self._process or self._lock.is_mine():
            return False
        with self._lock.tried() as is_free:
            if not is_free or self._open is not None or not self.path.can_rest:
                return False
            if not self._cells.are_free:
                self._aside = self.path.set_aside()
                self._cells.free()
        self._worker.rest()
        return True

    @property
    def is_resting(self) -> bool:
        """Whether the cells are free until somebody needs the path."""
        return self._cells.are_free and not self._closed

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
            self._movers += 1
            self._abort.set()
        try:
            yield
        finally:
            with self._counting:
                self._movers -= 1
                if not self._movers:
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

    def _await_ahead(self) -> None:
        """Let the worker evaluate what a stream handed out, as long as that stream goes on."""
        ahead = self._ahead
        while ahead and not self.in_callback() and self._open is ahead[0]:
            with interrupts_held():  # or one could leave the future's lock taken
                if wait_for_all([ahead[1]], WAIT_SECONDS).done:
                    return

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Queue a job that takes the lock by itself."""
        self.check_usable()
        try:
            return self._worker.submit(job)
        except RuntimeError:
            self.check_usable()  # it may have been closed just now
            raise

    def wait(self, job: Callable[[], T], ticket: Ticket) -> T:
        """Queue a job and wait for it; an interrupt stops it and is raised when it ended."""
        future: Future[T] | None = None

        def stop() -> None:
            if future is None or not future.cancel():
                self.cancel(ticket)

        try:
            with interrupts_held():
                future = self.submit(job)
            return self._worker.wait(future, stop)
        except KeyboardInterrupt:  # it may have come before the waiting began
            with interrupts_held():
                stop()
                if future is not None and not future.cancelled():
                    wait_for_all([future])
            raise

    async def await_(self, job: Callable[[], T], ticket: Ticket) -> T:
        """Queue a job and await it; a cancellation stops it and is raised when it ended."""
        return await awaited(self.submit(job), lambda: self.cancel(ticket))

    def in_callback(self) -> bool:
        """Whether this is called by the worker, in a callback of a job of its own."""
        return self._worker.is_current()

    def cancel(self, ticket: Ticket) -> None:
        """End one request, whether it has begun or not."""
        ticket.stopped = True
        if self._active is ticket:
            self._abort.set()

    def stop(self) -> None:
        """End what is being evaluated or generated."""
        active = self._active
        if active is not None:
            self.cancel(active)

    def close(self) -> None:
        """End everything; the cells may be freed afterwards."""
        if not self._closed and os.getpid() == self._process:
            self._check_not_within()
            with interrupts_held(), self._lock_to_move():
                if not isinstance(self._open, Generation):
                    self._settle()  # branches are captured; a generation's tokens are known
                self._closed = True
                self._aside = None
            self._worker.close()
            if not self._cells.are_free:
                self._cells.free()

    def _settle(self) -> None:
        """End the open generation with exactly what it handed out in the path."""
        generation, self._open, self._active = self._open, None, None
        if generation is not None:
            generation.close()

    def _synchronise(self) -> None:
        """Make the path hold exactly what the open generation handed out; it may go on."""
        if self._open is not None:
            self._open.synchronise()

    # -- generate ----------------------------------------------------------------------------

    def generate(
        self, request: Request, ticket: Ticket, on_token: Callable[[Token], object] | None
    ) -> Completion:
        """A whole generation; runs on the worker."""
        began = time.perf_counter()
        run = self.begin(request, ticket)
        try:
            if on_token is None:
                self._run_to_end(run)
            else:
                while (token := self.step(run)) is not None:
                    on_token(token)
        except BaseException:
            self.end(run)
            raise
        return run.completion(time.perf_counter() - began)

    def _run_to_end(self, run: Run) -> None:
        """All tokens of a run; the lock is let go when somebody wants it."""
        if run.generation is None:
            return
        goes_on = True
        while goes_on:
            with self._lock.held():
                while goes_on := self._advance(run.generation, run.ticket) is not None:
                    if self._lock.is_wanted():
                        break

    def begin(self, request: Request, ticket: Ticket) -> Run:
        """Evaluate the prompt and get ready to generate; runs on the worker."""
        with self._lock.held():
            self._get_ready()
            self._settle()
            path = self.path
            plan = plan_prompt(
                self._model, path.tokens, request.prompt, request.messages, special=request.special
            )
            self._activate(ticket)
            if ticket.stopped:  # whoever stops it from here on sets the flag
                return Run(None, request, ticket)
            try:
                path.switch(plan.keep, plan.tokens, request.progress)
            except Aborted:
                return Run(None, request, ticket)
            run = Run(None, request, ticket, plan.keep, len(plan.tokens), is_evaluated=True)
            if request.limits.max_tokens != 0:
                run.generation = self._open = Generation(
                    path,
                    self._model.vocabulary,
                    request.sampling,
                    request.sibling,
                    request.limits,
                )
            return run

    def step(self, run: Run) -> Token | None:
        """One token of a run, None at its end."""
        return None if run.generation is None else self.advance(run.generation, run.ticket)

    def next_token(self, run: Run) -> Token | None:
        """One token of a run for a caller in another thread; its evaluation begins."""
        self.check_usable()
        self._await_ahead()
        token = self.step(run)
        if token is not None:
            self.evaluate_ahead(run)
        return token

    def evaluate_ahead(self, run: Run) -> None:
        """Have the worker evaluate the token that was handed out, while it is being looked at."""
        if run.generation is None:
            return
        generation = run.generation

        def evaluate() -> None:
            with self._lock.held():
                if self._open is generation and not self._closed:
                    generation.evaluate_last()

        self._ahead = generation, self.submit(evaluate)

    def end(self, run: Run) -> None:
        """End a run where it stands."""
        if run.generation is not None:
            self.finish(run.generation)

    # -- whatever goes on behind the path ----------------------------------------------------

    def open(self, make: Callable[[ActivePath], OpenedT], ticket: Ticket) -> OpenedT:
        """End what goes on and begin something else; runs on the worker."""
        with self._lock.held():
            self._get_ready()
            self._settle()
            self._activate(ticket)
            self._open = opened = make(self.path)
            return opened

    def advance(self, opened: Opened[T], ticket: Ticket) -> T | None:
        """One step of it, None at its end."""
        with self._lock.held():
            return self._advance(opened, ticket)

    def _advance(self, opened: Opened[T], ticket: Ticket) -> T | None:
        if self._open is not opened or self._closed:
            return None
        if ticket.stopped:
            self._settle()
            return None
        handed_out = opened.step()
        if handed_out is None:
            self._open = self._active = None
        return handed_out

    def finish(self, opened: Opened[T]) -> None:
        """End it where it stands."""
        if os.getpid() != self._process:
            return
        with self._lock.held():
            if self._open is opened and not self._closed:
                self._settle()

    def look(self, job: Callable[[ActivePath], T], ticket: Ticket) -> T | None:
        """Run a long job that leaves the path as it is, None when stopped; runs on the worker."""
        with self._lock.held():
            self._get_ready()
            self._synchronise()
            active = self._active
            self._activate(ticket)
            try:
                return None if ticket.stopped else job(self.path)
            except Aborted:
                return None
            finally:
                self._active = active

    def _activate(self, ticket: Ticket) -> None:
        """Make a request the one that can be stopped."""
        self._active = ticket
        with self._counting:
            if not self._movers:
                self._abort.clear()  # it was meant for something that ended
