"""A figure of what a steering does: log-probabilities against its scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..checks import check_number
from ..steering import Effect

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["steering"]


def steering(effect: Effect, *, at: float | None = None) -> Figure:
    """Plot how likely continuations are at each scale of a steering.

    Parameters
    ----------
    effect : Effect
        Of :meth:`.Steering.effect`.
    at : float, optional
        A scale to mark, such as that of a slider.

    Returns
    -------
    matplotlib.figure.Figure
        A line for each continuation. Scale 0 is the model by itself.
    """
    if at is not None:
        check_number("at", at)
    from .theme import GREY, MARKERS, SERIES, ClearFigure, readable

    figure = ClearFigure(height=2.9)
    axes = figure.axes_for(
        "How likely each text is; at scale 0 the model is as it was",
        "scale",
        "log-probability (nats)",
    )
    order = sorted(range(len(effect.scales)), key=effect.scales.__getitem__)
    scales = [effect.scales[i] for i in order]
    for i, text in enumerate(effect.continuations):
        axes.plot(
            scales,
            effect.logprobs[order, i],
            color=SERIES[i % len(SERIES)],
            marker=MARKERS[i % len(MARKERS)],
            markersize=4,
            label=f"“{readable(text)}”",  # matplotlib leaves out what begins with _
        )
    axes.axvline(0, color=GREY, linewidth=0.8, alpha=0.5)
    if at is not None:
        axes.axvline(at, color=GREY, linestyle="--", linewidth=1)
    figure.add_legend(axes)
    for label in axes.get_legend().texts:  # type: ignore[union-attr]
        label.set_parse_math(False)
    return figure
