"""Scoring: the probability of a given text under the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .decoder import MOST_OUTPUTS
from .path import ActivePath
from .sampler import log_probability

__all__ = ["Score", "score"]


@dataclass(frozen=True)
class Score:
    """The model's probabilities of a continuation.

    Attributes
    ----------
    tokens : tuple of int
    logprobs : tuple of float
        Natural logarithm of each token's probability after the preceding ones, before any sampler.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def total(self) -> float:
        """Natural logarithm of the joint probability of all tokens."""
        return math.fsum(self.logprobs)


def score(path: ActivePath, tokens: Sequence[int]) -> Score:
    """Score tokens after a path, in a second sequence that shares its cells.

    The path's cells and logits do not change by a bit.

    Parameters
    ----------
    path : ActivePath
        With at least one token.
    tokens : sequence of int

    Raises
    ------
    Aborted
        When the stop flag was set.
    ContextError
        When the path is empty.
    ContextFullError
        When there are fewer free cells than tokens.
    """
    path.room(len(tokens))
    logits, memory, start = path.hold_logits(), path.memory, path.n_tokens
    logprobs = [log_probability(logits, tokens[0])] if tokens else []
    last, size = len(tokens) - 1, min(MOST_OUTPUTS, memory.decoder.n_batch)
    sequence = memory.branch_sequences[0]
    memory.share(sequence)
    try:
        for at in range(0, last, size):
            stop = min(at + size, last)
            rows = memory.decoder.decode_rows(
                tokens[at:stop],
                range(start + at, start + stop),
                [sequence] * (stop - at),
                n_outputs=stop - at,
                stoppable=True,
            )
            following = tokens[at + 1 : stop + 1]
            logprobs += map(log_probability, rows, following)
    finally:
        memory.drop(sequence)
    return Score(tuple(tokens), tuple(logprobs))
