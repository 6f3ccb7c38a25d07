"""Possible next tokens, with the model's own probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .decoder import Logits
from .model import Model
from .sampler import log_probabilities

__all__ = ["TokenProbability", "likeliest"]


@dataclass(frozen=True)
class TokenProbability:
    """A possible next token.

    Attributes
    ----------
    id : int
    text : str
        With control tokens written out.
    probability : float
        The model's own, before any sampler.
    """

    id: int
    text: str
    probability: float


def likeliest(logits: Logits, k: int, model: Model) -> list[TokenProbability]:
    """Return the ``k`` most likely tokens, in order."""
    logs = log_probabilities(logits)
    best = np.argsort(-logs, kind="stable")[:k]
    return [
        TokenProbability(
            int(token),
            model.detokenize([int(token)], special=True),
            float(np.exp(logs[token])),
        )
        for token in best
    ]
