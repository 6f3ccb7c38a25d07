"""Generating: the steps of one answer on a path."""

from __future__ import annotations

from collections import deque

from ..completion import FinishReason, Limits, Token
from ..path import ActivePath
from ..sampling.adaptive import SamplerState
from ..sampling.params import SamplingParams
from ..vocabulary import Vocabulary
from .answer import Answer
from .chooser import Chooser
from .format import PLAIN, AnswerFormat

__all__ = ["Generation"]


class Generation:
    """The steps of one generation.

    A token is evaluated when the next one is requested. Stopping in between leaves exactly the
    tokens handed out in the context.

    Parameters
    ----------
    path : ActivePath
        With at least one token.
    vocabulary : Vocabulary
    sampling : SamplingParams
        With a seed.
    sibling : int
    limits : Limits
    sampler_state : SamplerState, optional
        What a sampler carries over from an answer that is continued.
    answer_format : AnswerFormat
    n_said : int
        How many tokens at the path's end are the answer's.
    """

    def __init__(
        self,
        path: ActivePath,
        vocabulary: Vocabulary,
        sampling: SamplingParams,
        sibling: int,
        limits: Limits,
        sampler_state: SamplerState | None = None,
        answer_format: AnswerFormat = PLAIN,
        n_said: int = 0,
    ) -> None:
        self.sampling = sampling
        self._path = path
        self._start = path.n_tokens
        self._again: deque[int] = deque()  # taken back by `synchronise`
        chooser = Chooser(
            *(vocabulary, sampling, sibling, limits, path.tokens, path.n_ctx),
            *(sampler_state, answer_format, n_said),
        )
        self._answer = Answer(vocabulary, chooser, limits, path.n_ctx)

    @property
    def tokens(self) -> list[Token]:
        """The tokens handed out."""
        return self._answer.tokens

    @property
    def text(self) -> str:
        """The text of the tokens handed out."""
        return self._answer.text

    @property
    def sampler_states(self) -> tuple[SamplerState, ...]:
        """What a sampler carried on from each token handed out; empty without one that does."""
        return self._answer.sampler_states

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why it ended; None while it runs."""
        return self._answer.finish_reason

    def step(self) -> Token | None:
        """Return the next token, or None at the end."""
        answer = self._answer
        while (token := answer.hand_out()) is None:
            if answer.finish_reason is not None:
                self.close()
                return None
            self.evaluate_ahead()
            n_tokens = self._path.n_tokens
            if answer.may_go_on(n_tokens):
                answer.choose(self._path.logits, n_tokens, self._path.memory.decoder)
        return token

    def close(self) -> None:
        """End here: the context keeps exactly the tokens handed out."""
        self._answer.end("stopped")
        self.synchronise()
        self._again.clear()

    def abandon(self) -> None:
        """End here; nothing is evaluated for it any more."""

    @property
    def n_handed_out(self) -> int:
        """The number of tokens of the path as seen by callers."""
        return self._start + len(self.tokens)

    @property
    def handed_out(self) -> tuple[int, ...]:
        """The tokens of the path as seen by callers."""
        return (*self._path.tokens[: self._start], *(token.id for token in self.tokens))

    def synchronise(self) -> None:
        """Make the path hold exactly the tokens handed out; others are evaluated when due."""
        n_tokens = self.n_handed_out
        if self._path.n_tokens > n_tokens:
            self._again.extendleft(reversed(self._path.tokens[n_tokens:]))
            self._path.rewind(n_tokens)
        while self._path.n_tokens < n_tokens:
            self._evaluate_next()

    def evaluate_ahead(self) -> None:
        """Evaluate the chosen token, if that has not been done."""
        while self._again or self._answer.unevaluated is not None:
            self._evaluate_next()

    def _evaluate_next(self) -> None:
        if self._again:
            self._path.append(self._again[0])
            self._again.popleft()
        else:
            assert self._answer.unevaluated is not None
            self._path.append(self._answer.unevaluated)
            self._answer.unevaluated = None
