"""The tokens of a message as views show them: how likely, what else, how open the choice was."""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import Any, TypeAlias

from ..history.turn import Turn
from ..signs import signs

__all__ = ["Told", "alternatives_to", "entropies", "token_list"]

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


def alternatives_to(turn: Turn, token: int) -> dict[str, Any]:
    """Return the most likely tokens in the place of one, and which was chosen.

    Parameters
    ----------
    turn : Turn
    token : int
        Index in the message.
    """
    model = turn.chat.model
    found = [
        (other.id, signs(model.detokenize([other.id], special=True)) or "∅", other.probability)
        for other in turn.chat.alternatives(turn, token)
    ]
    return {"id": turn.id, "token": token, "chosen": turn.tokens[token], "found": found}


def entropies(turn: Turn) -> dict[str, Any]:
    """Return how open the choice of each token was, in nats; None where that is not known.

    Parameters
    ----------
    turn : Turn
    """
    values = [None if math.isnan(each) else round(float(each), 4) for each in turn.entropy]
    return {"id": turn.id, "values": values}
