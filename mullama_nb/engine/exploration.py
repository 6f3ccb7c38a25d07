"""Exploring: branches that are made first and run then, so that no way of ending loses them."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ContextError
from .branches import Branch, Branches, BranchRequest
from .generation import Token
from .model import Model
from .request import Ticket
from .runner import Runner

__all__ = ["Exploration"]


class Exploration:
    """Several answers to what a context holds; made by ``Context.exploration``.

    Made first and run then: what the branches have is there however the run ended.

    Parameters
    ----------
    runner : Runner
    model : Model
    request : BranchRequest
    on_token : callable, optional
        Called with a branch's index and its token, on another thread.
    """

    def __init__(
        self,
        runner: Runner,
        model: Model,
        request: BranchRequest,
        on_token: Callable[[int, Token], object] | None = None,
    ) -> None:
        self.request = request
        self._runner = runner
        self._model = model
        self._on_token = on_token
        self._ticket = Ticket()
        self._branches: list[Branch] = []
        self._has_run = False

    def run(self) -> list[Branch]:
        """Decode the branches until each has ended; afterwards the context is as it was.

        ``stop()``, a ``KeyboardInterrupt`` and whatever else moves the context end all branches
        between two tokens. They keep what they have.

        Returns
        -------
        list of Branch
            In order of their index.

        Raises
        ------
        ContextError
            When the context is empty, or this was run before.
        GrammarError
            When the grammar cannot be read, or nothing continues it.
        """
        if self._has_run:
            raise ContextError("an exploration runs once; make another one")
        self._has_run = True
        self._runner.wait(self._work, self._ticket)
        return self.branches

    @property
    def branches(self) -> list[Branch]:
        """What every branch has once the run has ended, in whatever way; empty before."""
        return list(self._branches)

    def _work(self) -> None:
        runner, vocabulary = self._runner, self._model.vocabulary
        steps = runner.open(lambda path: Branches(path, vocabulary, self.request), self._ticket)
        try:
            while (tokens := runner.advance(steps, self._ticket)) is not None:
                for index, token in tokens:
                    if self._on_token is not None:
                        self._on_token(index, token)
        finally:
            try:
                runner.finish(steps)
            finally:
                self._branches = steps.branches
