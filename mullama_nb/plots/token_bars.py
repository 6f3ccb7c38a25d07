"""A bar for each token of a message, with the tokens' texts below."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from ..engine.model import Model
from ..signs import signs
from .theme import AMBER, BLUE, ClearFigure, readable

__all__ = ["label_tokens", "token_bars"]

_LONGEST_WITH_LABELS = 48
_LONGEST_TEXT = 16  # characters


def token_bars(
    title: str,
    y: str,
    values: Sequence[float],
    stands_out: Sequence[bool],
    model: Model,
    tokens: Sequence[int],
    *,
    of: str = "answer",
) -> tuple[ClearFigure, Axes]:
    """Draw a figure with one bar for each token; up to 48 tokens have their text.

    Parameters
    ----------
    title, y : str
        Of the figure, and what the bars measure.
    values : sequence of float
    stands_out : sequence of bool
        Which bars have the other colour, and a hatch.
    model : Model
    tokens : sequence of int
    of : str
        What the tokens are part of.
    """
    n = len(values)
    figure = ClearFigure(width=min(12.0, max(4.8, 0.24 * n + 1.2)))
    axes = figure.axes_for(title, f"token of the {of}", y)
    axes.bar(
        range(n),
        values,
        color=[AMBER if out else BLUE for out in stands_out],
        hatch=["///" if out else "" for out in stands_out],
        edgecolor="#ffffff66",
        linewidth=0,
    )
    axes.set_xlim(-0.6, n - 0.4)
    if n <= _LONGEST_WITH_LABELS:
        label_tokens(axes, [model.detokenize([token], special=True) for token in tokens])
    return figure, axes


def label_tokens(axes: Axes, texts: Sequence[str]) -> None:
    """Label places 0, 1, ... on the x axis with the texts of tokens."""
    shown = [readable(signs(text.strip(" ") or " ", most=_LONGEST_TEXT)) for text in texts]
    axes.set_xticks(range(len(shown)), shown, rotation=90, fontsize=9)
    for label in axes.get_xticklabels():
        label.set_parse_math(False)  # a model may write dollar signs
