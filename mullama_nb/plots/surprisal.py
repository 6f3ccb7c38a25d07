"""A figure of how surprising each token of a message was, or how unsure the model before it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import ParameterError, shown
from ..history.turn import Turn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["surprisal"]

_A_BIT = math.log(2)  # nats: what a token has that is as likely as not
_KINDS = ("surprisal", "entropy")


def surprisal(turn: Turn, *, by: Literal["surprisal", "entropy"] = "surprisal") -> Figure:
    """Plot the surprisal of each token of a message, or the entropy before it, in nats.

    Parameters
    ----------
    turn : Turn
        An answer or a question.
    by : {"surprisal", "entropy"}
        How unlikely each token was, or how unsure the model was before it.

    Returns
    -------
    matplotlib.figure.Figure
        One bar per token; up to 48 tokens with their text. A bar of more than one bit stands out:
        the token was less likely than not, or the model less sure than of a coin's toss. The line
        is the mean.

    Raises
    ------
    ParameterError
        When the message has no tokens of its own.
    """
    if by not in _KINDS:
        raise ParameterError(f"by={shown(repr(by))} must be one of {', '.join(map(repr, _KINDS))}")
    nats = turn.surprisal if by == "surprisal" else turn.entropy
    if np.isnan(nats).all():
        raise ParameterError(
            f"{turn!r} has no tokens of which anything is known; where a later message holds it, "
            "chat.checkout(turn) gives it its own"
        )
    from .theme import GREY  # here, because matplotlib takes half a second
    from .token_bars import token_bars

    n, mean = nats.size, float(np.nanmean(nats))
    stands_out = [bool(value > _A_BIT) for value in nats]
    counted = f"{n} token{'s' * (n != 1)}"
    title = (
        f"{counted}, {sum(stands_out)} of them less likely than not; perplexity {np.exp(mean):.1f}"
        if by == "surprisal"
        else f"{counted}, the model was unsure by more than a bit before {sum(stands_out)} of them"
    )
    whose = "answer" if turn.role == "assistant" else "message"
    figure, axes = token_bars(
        *(
            title,
            f"{by} (nats)",
            np.nan_to_num(nats).tolist(),
            stands_out,
            turn.chat.model,
            turn.tokens,
        ),
        of=whose,
    )
    axes.set_ylim(bottom=0)
    axes.axhline(mean, color=GREY, linestyle="--", linewidth=1)
    axes.annotate(
        f"mean {mean:.2f}",
        (1, mean),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=GREY,
    )
    return figure
