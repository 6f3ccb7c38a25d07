"""Tokens as they are generated, for a loop to take one by one."""

from __future__ import annotations

import time
from types import TracebackType

from .generation import Completion, Token
from .live import Live
from .request import Request, Run, Ticket
from .runner import Runner

__all__ = ["Stream"]


class Stream(Live):
    """Tokens as they are generated; made by ``Context.stream``.

    Works in ``for`` and in ``async for``. A token is evaluated while the loop's body looks at it.
    Leaving the loop early, or ``close``, keeps exactly the tokens in the context that were handed
    out. So does anything else that moves the context in between: it ends the stream.

    Attributes
    ----------
    completion : Completion
        What was handed out so far, and how it ended.
    """

    _instead_of_a_copy = "its tokens can be kept: list(stream)"

    def __init__(self, runner: Runner, request: Request) -> None:
        self.request = request
        self._runner = runner
        self._ticket = Ticket()
        self._run: Run | None = None
        self._began = time.perf_counter()
        self._seconds = 0.0
        self._over = False

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Token:
        if self._over:
            raise StopIteration
        runner = self._runner
        token = None
        try:
            if self._run is None:
                self._run = runner.wait(self._begin, self._ticket)
            token = runner.next_token(self._run)
        finally:
            self._note(over=token is None)
        if token is None:
            raise StopIteration
        return token

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Token:
        if self._over:
            raise StopAsyncIteration
        runner = self._runner
        token = None
        try:
            if self._run is None:
                self._run = await runner.await_(self._begin, self._ticket)
            run = self._run
            token = await runner.await_(lambda: runner.step(run), self._ticket)
        finally:
            self._note(over=token is None)
        if token is None:
            raise StopAsyncIteration
        return token

    def _begin(self) -> Run:
        return self._runner.begin(self.request, self._ticket)

    def _note(self, *, over: bool) -> None:
        self._over = over
        self._seconds = time.perf_counter() - self._began

    def close(self) -> None:
        """End the generation; the context keeps what was handed out."""
        if not self._over and self._run is not None:
            self._runner.end(self._run)
        self._over = True

    @property
    def completion(self) -> Completion:
        """What was handed out so far, and how it ended."""
        return (self._run or Run(None, self.request)).completion(self._seconds)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
