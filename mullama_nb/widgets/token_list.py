"""The tokens of a message as views show them."""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import TypeAlias

from ..history.turn import Turn
from ..signs import signs

__all__ = ["Told", "token_list"]

Told: TypeAlias = tuple[str, float | None, int]


def token_list(turn: Turn) -> list[Told]:
    """Return each token's text with signs, its probability, and the number of its line breaks.

    Parameters
    ----------
    turn : Turn

    Returns
    -------
    list of tuple
        The probability is None where a token was not generated.
    """
    model = turn.chat.model
    told: list[Told] = []
    for part in turn.parts:
        for token, logprob in zip_longest(part.tokens, part.logprobs):
            text = model.detokenize([token], special=True)
            probability = None if logprob is None else math.exp(logprob)
            told.append((signs(text, spaces=False), probability, text.count("\n")))
    return told
