"""Scoring: the probability of tokens under the model, given or held."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .path import ActivePath
from .sampling.probability import entropy
from .sampling.sampler import log_probability
from .scratch import beside

__all__ = ["Score", "score"]


@dataclass(frozen=True)
class Score:
    """The model's probabilities of tokens.

    Attributes
    ----------
    tokens : tuple of int
    logprobs : tuple of float
        Natural logarithm of each token's probability after the preceding ones, before any sampler.
    entropies : tuple of float
        Entropy, in nats, of the distribution that each token is from.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    entropies: tuple[float, ...]

    @property
    def total(self) -> float:
        """Natural logarithm of the joint probability of all tokens."""
        return math.fsum(self.logprobs)


def score(path: ActivePath, tokens: Sequence[int], n_tokens: int | None = None) -> Score:
    """Score tokens behind the first tokens of a path, in a second sequence that shares its cells.

    The path's cells and logits do not change by a bit.

    Parameters
    ----------
    path : ActivePath
        With at least one token.
    tokens : sequence of int
    n_tokens : int, optional
        None: all.

    Raises
    ------
    Aborted
        When the stop flag was set.
    ContextError
        When the path is empty.
    ContextFullError
        When there are fewer free cells than tokens.
    """
    logprobs, entropies = [], []
    with beside(path, n_tokens) as scratch:
        scratch.check_room(len(tokens))
        following = itertools.chain([scratch.logits], scratch.follow(tokens[:-1]))
        for token, logits in zip(tokens, following, strict=False):
            logprobs.append(log_probability(logits, token))
            entropies.append(entropy(logits))
    return Score(tuple(tokens), tuple(logprobs), tuple(entropies))
