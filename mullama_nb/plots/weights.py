"""Where a token looked, as one share of its attention for each token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..checks import check_integer
from ..engine.inside.look import Look
from ..errors import ParameterError

__all__ = ["Weights", "attention_weights", "find_sinks", "heads_of"]


@dataclass(frozen=True)
class Weights:
    """The mean attention of some heads.

    Attributes
    ----------
    look : Look
    shares : ndarray of float32, shape (position + 1,)
        What each token got; with the part that went to learnt sinks they sum to 1. Where sinks are
        left out, the others alone do, or are all 0 if nothing else was looked at.
    left_out : tuple of int
        Positions of the sinks that are left out, in order.
    left_out_share : float
        What these and learnt sinks got; the other shares are divided by the rest.
    """

    look: Look
    shares: npt.NDArray[np.float32]
    left_out: tuple[int, ...] = ()
    left_out_share: float = 0.0

    def most(self, n: int) -> list[int]:
        """Return the positions of the ``n`` tokens that got most, first the one with the most."""
        order = np.argsort(-self.shares, kind="stable")[:n]
        return [int(at) for at in order if self.shares[at] > 0]

    @property
    def remark(self) -> str:
        """What is left out, in words; empty if nothing is."""
        if not self.left_out:
            return ""
        named = " and ".join(f"{at} {self.look.pieces[at]!r}" for at in self.left_out)
        return f"without token {named}, which took {self.left_out_share:.0%}"


def attention_weights(
    look: Look,
    layer: int | None = None,
    head: int | None = None,
    *,
    leave_out_sinks: bool = False,
) -> Weights:
    """Return the attention of one head, or the mean of several.

    Parameters
    ----------
    look : Look
    layer, head : int or None
        Indices into ``look.attention``. None: the mean of all that have attention.
    leave_out_sinks : bool
        Whether to leave out what ``find_sinks`` gives, and to scale the rest to sum to 1.

    Raises
    ------
    ParameterError
        When there is no such layer or head, or the layer has no attention.
    """
    layers, heads = heads_of(look, layer, head)
    rows, learnt = look.attention[layers][:, heads], look.sinks[layers][:, heads]
    shares: npt.NDArray[np.float64] = np.asarray(np.nanmean(rows, axis=(0, 1), dtype=np.float64))
    if not leave_out_sinks:
        return Weights(look, shares.astype(np.float32))
    sinks = find_sinks(look)
    taken = float(shares[list(sinks)].sum() + np.nanmean(learnt, dtype=np.float64))
    shares[list(sinks)] = 0
    rest = float(shares.sum())
    if rest > 0:
        shares /= rest
    return Weights(look, shares.astype(np.float32), sinks, taken)


def find_sinks(look: Look) -> tuple[int, ...]:
    """Return the positions that take weight without being meant: the attention sinks.

    These are the first token, and each that takes more than half of the weight in more than half
    of all heads (Xiao et al., 2023, "Efficient Streaming Language Models with Attention Sinks").
    The token that looks is none.
    """
    rows = look.attention[list(look.attention_layers)]
    rows = rows[~np.isnan(rows[:, :, 0])]  # a layer may have fewer heads
    takes_most = (rows > 0.5).mean(axis=0) > 0.5
    takes_most[0] = True
    takes_most[look.position] = False
    return tuple(np.flatnonzero(takes_most).tolist())


def heads_of(look: Look, layer: int | None, head: int | None) -> tuple[list[int], list[int]]:
    """Return the layers and heads to average; in each of these layers is one of these heads.

    Raises
    ------
    ParameterError
        When there is none.
    """
    having = look.attention_layers
    if not having:
        raise ParameterError(
            "this model has no attention: its layers carry a state from token to token. What each "
            "layer would have said is in look.guesses()."
        )
    if layer is not None and check_integer("layer", layer) not in having:
        raise ParameterError(
            f"layer={layer!r} has no attention in this model; give one of "
            f"{', '.join(map(str, having))}, or None for their mean"
        )
    n_heads = look.attention.shape[1]
    layers = list(having) if layer is None else [int(layer)]
    heads = list(range(n_heads)) if head is None else [check_integer("head", head, 0, n_heads - 1)]
    # A layer may have fewer heads.
    is_there: npt.NDArray[np.bool_] = ~np.isnan(look.attention[layers][:, heads, 0])
    if not is_there.any():
        raise ParameterError(f"layer {layer} has no head {head}: it has fewer than other layers")
    return (
        np.asarray(layers)[is_there.any(axis=1)].tolist(),
        np.asarray(heads)[is_there.any(axis=0)].tolist(),
    )
