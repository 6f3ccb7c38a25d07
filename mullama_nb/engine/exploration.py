"""Exploring: branches are created first and run then, so that no kind of ending loses them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..errors import ContextError
from .branches import Branch, Branches, BranchRequest
from .completion import Token
from .model import Model
from .scheduler import Scheduler
from .threads.lock import CancelToken

__all__ = ["Exploration"]


class Exploration:
    """Several continuations of a context; made by ``Context.exploration``.

    Creation and run are separate, so that the branches are available however the run ended.

    Parameters
    ----------
    scheduler : Scheduler
    model : Model
    request : BranchRequest
    on_token : callable, optional
        Called with a branch's index and its token, on another thread.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        model: Model,
        request: BranchRequest,
        on_token: Callable[[int, Token], object] | None = None,
    ) -> None:
        self.request = request
        self._scheduler = scheduler
        self._model = model
        self._on_token = on_token
        self._cancel = CancelToken()
        self._branches: list[Branch] = []
        self._has_run = False

    def run(self, first_sibling: int | None = None, *, n_said: int = 0) -> list[Branch]:
        """Decode the branches until each has ended; the context does not change.

        ``stop()``, a ``KeyboardInterrupt`` and any move of the context end all branches between two
        tokens. They keep their tokens so far.

        Parameters
        ----------
        first_sibling : int, optional
            Ordinal of the first branch, if not the one given on creation.
        n_said : int
            How many tokens at the end of the context are the answers' already.

        Returns
        -------
        list of Branch
            In order of index.

        Raises
        ------
        ContextError
            When the context is empty, or the exploration was run before.
        GrammarError
            When the grammar cannot be parsed, or no token continues it.
        """
        if self._has_run:
            raise ContextError("an exploration runs once; make another one")
        if first_sibling is not None:
            self.request = dataclasses.replace(self.request, first_sibling=first_sibling)
        if n_said:
            self.request = dataclasses.replace(self.request, n_said=n_said)
        self._has_run = True
        self._scheduler.wait(self._work, self._cancel)
        return self.branches

    @property
    def branches(self) -> list[Branch]:
        """The branches after the run, however it ended; empty before."""
        return list(self._branches)

    def _work(self) -> None:
        scheduler, vocabulary = self._scheduler, self._model.vocabulary
        steps = scheduler.open(lambda path: Branches(path, vocabulary, self.request), self._cancel)
        try:
            while (tokens := scheduler.advance(steps, self._cancel)) is not None:
                for index, token in tokens:
                    if self._on_token is not None:
                        self._on_token(index, token)
        finally:
            try:
                scheduler.finish(steps)
            finally:
                self._branches = steps.branches
