"""Running one request, to its end or token by token."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from ..errors import ContextError
from .answers.generation import Generation
from .completion import Completion, FinishReason, Token
from .decoder import Aborted
from .live import Live
from .model import Model
from .path import ActivePath
from .prompt import plan_prompt
from .request import Request
from .scheduler import Scheduler
from .threads.lock import CancelToken

__all__ = ["Run", "Stream"]


class Run:
    """One request from its submission to its end.

    Parameters
    ----------
    scheduler : Scheduler
    model : Model
    request : Request

    Attributes
    ----------
    cancel : CancelToken
    """

    def __init__(self, scheduler: Scheduler, model: Model, request: Request) -> None:
        self.request = request
        self.cancel = CancelToken()
        self._scheduler = scheduler
        self._model = model
        self._generation: Generation | None = None  # where nothing is to be generated
        self._n_reused = self._n_evaluated = 0
        self._is_evaluated = False

    def begin(self) -> None:
        """Evaluate the prompt and get ready to generate; runs on the worker."""
        self._generation = self._scheduler.open(self._evaluate_prompt, self.cancel)

    def _evaluate_prompt(self, path: ActivePath) -> Generation | None:
        request = self.request
        plan = plan_prompt(
            self._model, path.tokens, request.prompt, request.messages, special=request.special
        )
        if self.cancel.is_cancelled:
            return None
        try:
            path.switch(plan.keep, plan.tokens, request.progress)
        except Aborted:
            return None
        self._n_reused, self._n_evaluated = plan.keep, len(plan.tokens)
        self._is_evaluated = True
        if request.limits.max_tokens == 0:
            return None
        vocabulary = self._model.vocabulary
        said = request.sampling, request.sibling, request.limits
        state = None if request.sampler_state is None else tuple(request.sampler_state)
        answer_format = request.answer_format or self._model.answer_format
        n_said = min(request.n_said, path.n_tokens)
        return Generation(path, vocabulary, *said, state, answer_format, n_said)

    def step(self) -> Token | None:
        """Return one token, or None at the end."""
        generation = self._generation
        return None if generation is None else self._scheduler.advance(generation, self.cancel)

    def step_ahead(self) -> Token | None:
        """Return one token on the caller's thread, while the worker evaluates it."""
        generation = self._generation
        if generation is None:
            self._scheduler.check_usable()
            return None
        return self._scheduler.advance_ahead(generation, self.cancel)

    def finish(self) -> None:
        """End here."""
        if self._generation is not None:
            self._scheduler.finish(self._generation)

    def to_end(self, on_token: Callable[[Token], object] | None) -> Completion:
        """Run the request to its end; runs on the worker."""
        began = time.perf_counter()
        self.begin()
        try:
            if on_token is not None:
                while (token := self.step()) is not None:
                    on_token(token)
            elif self._generation is not None:
                self._scheduler.advance_to_end(self._generation, self.cancel)
        except BaseException:
            self.finish()
            raise
        return self.completion(time.perf_counter() - began)

    def completion(self, seconds: float) -> Completion:
        """Return the result so far."""
        generation = self._generation
        reason: FinishReason = "stopped"
        if generation is not None:
            reason = generation.finish_reason or "stopped"
        elif self._is_evaluated:
            reason = "length"
        return Completion(
            "" if generation is None else generation.text,
            finish_reason=reason,
            tokens=() if generation is None else generation.tokens,
            reused=self._n_reused,
            evaluated=self._n_evaluated,
            seconds=seconds,
            sampling=self.request.sampling,
            sampler_states=() if generation is None else generation.sampler_states,
        )


class Stream(Live):
    """Tokens as they are generated; made by ``Context.stream``.

    Works in ``for`` and in ``async for``. A token is evaluated while the loop's body looks at it.
    Leaving the loop early, or ``close``, keeps exactly the tokens handed out in the context. So
    does anything else that moves the context, which ends the stream.

    Attributes
    ----------
    completion : Completion
        The result so far, and how it ended.
    """

    _instead_of_a_copy = "its tokens can be kept: list(stream)"

    def __init__(self, scheduler: Scheduler, model: Model, request: Request) -> None:
        self._scheduler = scheduler
        self._run = Run(scheduler, model, request)
        self._made = time.perf_counter()
        self._seconds = 0.0
        self._has_begun = False
        self._is_over = False

    @property
    def request(self) -> Request:
        """The request of the stream."""
        return self._run.request

    def start(
        self,
        sibling: int | None = None,
        sampler_state: Sequence[float] | None = None,
        *,
        n_said: int = 0,
    ) -> None:
        """Evaluate the prompt now instead of on the first request for a token.

        Parameters
        ----------
        sibling : int, optional
            Ordinal of the answer, if not the one given on creation.
        sampler_state : sequence of float, optional
            What a sampler carries over, if not what was given on creation.
        n_said : int
            How many tokens at the end of the context are the answer's already.

        Raises
        ------
        ContextError
            When the stream has begun already, or is over.
        """
        if self._has_begun or self._is_over:
            raise ContextError("a stream begins once; make another one")
        if sibling is not None:
            self._run.request = dataclasses.replace(self._run.request, sibling=sibling)
        if sampler_state is not None:
            self._run.request = dataclasses.replace(self._run.request, sampler_state=sampler_state)
        if n_said:
            self._run.request = dataclasses.replace(self._run.request, n_said=n_said)
        has_failed = True
        try:
            self._begin()
            has_failed = False
        finally:
            self._note(is_over=has_failed)

    def _begin(self) -> None:
        self._scheduler.wait(self._run.begin, self._run.cancel)
        self._has_begun = True

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Token:
        if self._is_over:
            raise StopIteration
        token = None
        try:
            if not self._has_begun:
                self._begin()
            token = self._run.step_ahead()
        finally:
            self._note(is_over=token is None)
        if token is None:
            raise StopIteration
        return token

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Token:
        if self._is_over:
            raise StopAsyncIteration
        scheduler, run = self._scheduler, self._run
        token = None
        try:
            if not self._has_begun:
                await scheduler.await_(run.begin, run.cancel)
                self._has_begun = True
            token = await scheduler.await_(run.step, run.cancel)
        finally:
            self._note(is_over=token is None)
        if token is None:
            raise StopAsyncIteration
        return token

    def _note(self, *, is_over: bool) -> None:
        self._is_over = is_over
        self._seconds = time.perf_counter() - self._made

    def close(self) -> None:
        """End the generation; the context keeps the tokens handed out."""
        if not self._is_over:
            self._run.finish()
        self._is_over = True

    @property
    def completion(self) -> Completion:
        """The result so far, and how it ended."""
        return self._run.completion(self._seconds)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
