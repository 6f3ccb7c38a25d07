"""A figure of one choice: what each sampler leaves of the candidates, and what is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..engine.sampling.choice import Candidate, Choice, Draw, Stretch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["choice"]

_ROW = 0.42  # inches
_HALF = 0.24  # of a bar's height, in rows
_ROOM = 0.012  # of the width, for a character of a label
_LONGEST = 90  # characters of the title


def choice(choice: Choice) -> Figure:
    """Plot how a token was chosen.

    Parameters
    ----------
    choice : Choice
        As ``turn.choice(token)`` returns it.

    Returns
    -------
    matplotlib.figure.Figure
        A row for each step. On the left the number of candidates that it leaves, on a logarithmic
        scale; on the right their probabilities, end to end, the chosen token in another colour. In
        the last row the bar that the number is drawn on, and where the next ordinal's falls.
    """
    from .theme import GREY, ClearFigure, readable  # here, because matplotlib takes half a second

    draw, steps = choice.draw, choice.steps
    names = ["model", *(step.name for step in steps), *["draw"] * (draw is not None)]
    figure = ClearFigure(width=9.6, height=0.95 + _ROW * len(names))
    counts, bars = figure.subplots(1, 2, sharey=True, width_ratios=[1, 3.4])
    title = choice.in_words
    figure.suptitle(
        readable(title if len(title) <= _LONGEST else f"{title[: _LONGEST - 1]}…"),
        color=GREY,
        fontsize=11,
        parse_math=False,
    )
    for axes in (counts, bars):
        axes.patch.set_alpha(0)
        axes.tick_params(colors=GREY, length=0)
        for side in ("top", "right", "left", "bottom"):
            axes.spines[side].set_visible(False)
    counts.set_yticks(range(len(names)), names)
    counts.set_ylim(len(names) - 0.2, -0.6)
    _draw_counts(counts, [*(step.before for step in steps[:1]), *(step.after for step in steps)])
    bars.set_xlim(0, 1)
    bars.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    bars.tick_params(labelleft=False)
    bars.set_xlabel("probability", color=GREY)
    _draw_bar(bars, 0, _stretches(choice.model), choice.token)
    for row, step in enumerate(steps, 1):
        _draw_bar(bars, row, _stretches(step.candidates), choice.token)
        bars.text(0, row - 0.29, readable(step.detail), color=GREY, fontsize=7, va="bottom")
    if draw is not None:
        _draw_number(bars, len(names) - 1, draw, choice.token)
    return figure


def _draw_counts(axes: Axes, counts: Sequence[int]) -> None:
    """The funnel."""
    from .theme import BLUE, GREY

    widths = [math.log10(max(1, n)) + 0.2 for n in counts]
    widest = max(widths, default=1.0)
    rows = range(len(counts))
    axes.barh(rows, widths, 2 * _HALF, [-w / 2 for w in widths], color=BLUE, linewidth=0)
    for row, n, width in zip(rows, counts, widths, strict=True):
        axes.annotate(
            f"{n:,}",
            (width / 2, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=GREY,
            fontsize=9,
        )
    axes.set_xlim(-widest / 2 - 0.1, widest / 2 + 1.4)
    axes.set_xticks([])
    axes.set_xlabel("candidates", color=GREY)


def _stretches(candidates: Sequence[Candidate]) -> list[Stretch]:
    """Candidates end to end."""
    begin, found = 0.0, []
    for each in candidates:
        end = begin + each.probability
        found.append(Stretch(each.token, each.text, begin, end))
        begin = end
    return found


def _draw_bar(axes: Axes, row: int, stretches: Sequence[Stretch], chosen: int) -> None:
    from .theme import AMBER, BLUE, GREY, readable

    axes.barh(row, 1, 2 * _HALF, color=GREY, alpha=0.25, linewidth=0)  # those without a name
    for each in stretches:
        width, is_chosen = each.high - each.low, each.token == chosen
        axes.barh(
            row,
            width,
            2 * _HALF,
            each.low,
            color=AMBER if is_chosen else BLUE,
            hatch="///" if is_chosen else "",
            edgecolor="#ffffff66",
            linewidth=0.5,
        )
        label = readable(each.text)
        if width > _ROOM * (len(label) + 1):
            axes.text(
                each.low + width / 2,
                row,
                label,
                ha="center",
                va="center",
                color="white",
                fontsize=8,
                fontweight="bold" if is_chosen else "normal",
                parse_math=False,
            )


def _draw_number(axes: Axes, row: int, draw: Draw, chosen: int) -> None:
    """The bar that the numbers fall on."""
    from .theme import GREEN, GREY, readable

    _draw_bar(axes, row, draw.bar, chosen)
    above, below = row - _HALF - 0.16, row + _HALF + 0.16
    axes.plot([draw.next_number] * 2, [row - _HALF, below], ":", color=GREY, linewidth=1.5)
    for colour, width in (("white", 4.5), (GREEN, 2.5)):
        axes.plot([draw.number] * 2, [above, row + _HALF], color=colour, linewidth=width)
    following = "nothing" if draw.next_text is None else readable(draw.next_text)
    said = (
        (draw.number, above, "bottom", f"{draw.number:.3f}", GREEN),
        (draw.next_number, below, "top", f"next: {following}", GREY),
    )
    for x, y, side, text, colour in said:
        is_right = x > 0.5
        axes.annotate(
            text,
            (x, y),
            xytext=(-3 if is_right else 3, -2 if side == "bottom" else 4),
            textcoords="offset points",
            ha="right" if is_right else "left",
            va=side,
            color=colour,
            fontsize=8,
            parse_math=False,
        )
