"""Possible next tokens, with the model's own probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..decoder import Logits
from ..model import Model
from .sampler import log_probabilities

__all__ = ["TokenProbability", "entropy", "likeliest"]

_LEAST = -745.0  # the exponential of less is 0 in double precision


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
    # All that are as likely as the k-th: sorting the whole vocabulary takes ten times as long.
    among = (
        np.flatnonzero(logs >= np.partition(logs, -k)[-k])
        if k < len(logs)
        else np.arange(len(logs))
    )
    best = among[np.argsort(-logs[among], kind="stable")][:k]
    return [
        TokenProbability(
            int(token),
            model.detokenize([int(token)], special=True),
            float(np.exp(logs[token])),
        )
        for token in best
    ]


def entropy(logits: Logits) -> float:
    """Return the entropy of the model's own distribution, before any sampler, in nats.

    Parameters
    ----------
    logits : ndarray of float32, shape (n_vocab,)
    """
    shifted = np.maximum(np.subtract(logits, logits.max(), dtype=np.float64), _LEAST)
    weights = np.exp(shifted)
    total = float(weights.sum())
    return max(0.0, math.log(total) - float(np.dot(weights, shifted)) / total)
