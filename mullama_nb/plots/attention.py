"""A figure of where a token looked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..engine.inside.look import Look
from .weights import Weights, attention_weights, heads_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["attention"]

_MOST_TOKENS = 48


def attention(
    look: Look,
    *,
    layer: int | None = None,
    head: int | None = None,
    leave_out_sinks: bool = True,
) -> Figure:
    """Plot where a token looked.

    Parameters
    ----------
    look : Look
        As of ``context.look()``.
    layer, head : int, optional
        Which attention to show. With both, a bar is what a token got from that head. Otherwise the
        rows of a map are the layers, each the mean of its heads or the head given, or all heads of
        the layer given.
    leave_out_sinks : bool
        Whether to leave out the first token, and those that take more than half of the weight in
        more than half of all heads. The title names them. The other bars are scaled to sum to
        100 %; a map shows them as they are, so the row of a layer that looks at sinks only is
        empty.

    Returns
    -------
    matplotlib.figure.Figure
        Of more than 48 tokens, those that got most.

    Raises
    ------
    ParameterError
        When there is no such layer or head, or the model has no attention.
    """
    from .theme import GREY, ClearFigure, readable  # here, because it takes half a second
    from .token_bars import label_tokens

    weights = attention_weights(look, layer, head, leave_out_sinks=leave_out_sinks)
    shown = sorted(weights.most(_MOST_TOKENS)) if look.position >= _MOST_TOKENS else None
    places = list(range(look.position + 1)) if shown is None else shown
    figure = ClearFigure(width=min(12.0, max(4.8, 0.24 * len(places) + 1.8)))
    few = "" if shown is None else f" (the {len(places)} it looked at most)"
    which = _which(layer, head)
    title = readable(f"{which}: where token {look.position} {look.pieces[-1]!r} looked{few}")
    if layer is None or head is None:
        axes = figure.axes_for(title, "token", "layer" if layer is None else "head")
        _draw_map(axes, weights, places, layer, head)
    else:
        axes = figure.axes_for(title, "token", "share of the attention (%)")
        _draw_bars(axes, weights, places)
    if weights.remark:
        axes.set_title(f"{title}\n{readable(weights.remark)}", loc="left", fontsize=11, color=GREY)
    label_tokens(axes, [look.pieces[at] for at in places])
    return figure


def _draw_bars(axes: Axes, weights: Weights, places: list[int]) -> None:
    from .theme import BLUE

    axes.bar(range(len(places)), 100 * weights.shares[places], color=BLUE, linewidth=0)
    axes.set_xlim(-0.6, len(places) - 0.4)


def _draw_map(
    axes: Axes, weights: Weights, places: list[int], layer: int | None, head: int | None
) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    from .theme import BLUE, GREY

    layers, heads = heads_of(weights.look, layer, head)
    rows = np.nanmean(weights.look.attention[layers][:, heads], axis=1 if layer is None else 0)
    rows[:, list(weights.left_out)] = 0
    image = axes.imshow(
        rows[:, places],
        aspect="auto",
        interpolation="nearest",
        vmin=0,
        # From nothing to blue, so that it is readable on light and dark.
        cmap=LinearSegmentedColormap.from_list("clear to blue", [(BLUE, 0.0), (BLUE, 1.0)]),
    )
    numbers = layers if layer is None else heads
    step = max(1, len(numbers) // 10)
    axes.set_yticks(range(0, len(numbers), step), [str(number) for number in numbers[::step]])
    axes.grid(visible=False)
    bar = axes.figure.colorbar(image, ax=axes, format=PercentFormatter(1, decimals=0), pad=0.02)
    bar.locator = MaxNLocator(5)
    bar.ax.tick_params(colors=GREY, length=0)
    bar.outline.set_visible(False)


def _which(layer: int | None, head: int | None) -> str:
    named = [
        f"{name} {value}" for name, value in (("layer", layer), ("head", head)) if value is not None
    ]
    return ", ".join(named).capitalize() or "All layers"
