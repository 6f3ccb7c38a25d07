"""The style of all figures: transparent, and readable on light and dark backgrounds."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..palette import AMBER, BLUE, GREEN, GREY, PURPLE, SERIES
from ..size import size

__all__ = [
    "AMBER",
    "BLUE",
    "GREEN",
    "GREY",
    "MARKERS",
    "PURPLE",
    "SERIES",
    "ClearFigure",
    "label_bytes",
    "readable",
]

MARKERS = "osD^v"


class ClearFigure(Figure):
    """A figure without a background, which a notebook shows with or without pyplot.

    Parameters
    ----------
    width, height : float
        Inches.
    """

    def __init__(self, width: float = 7.2, height: float = 3.6) -> None:
        super().__init__(figsize=(width, height), layout="constrained")
        self.patch.set_alpha(0)

    def axes_for(self, title: str, x: str, y: str, *, bytes_on_y: bool = False) -> Axes:
        """Add the only axes, with labels, a light grid and no frame.

        Parameters
        ----------
        title, x, y : str
            Shown as they are.
        bytes_on_y : bool
        """
        axes = self.add_subplot()
        axes.patch.set_alpha(0)
        axes.set_title(title, loc="left", color=GREY, fontsize=11, parse_math=False)
        axes.set_xlabel(x, color=GREY)
        axes.set_ylabel(y, color=GREY)
        axes.tick_params(colors=GREY, length=0)
        axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(GREY)
        if bytes_on_y:
            axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
            label_bytes(axes)
        return axes

    def add_legend(self, axes: Axes) -> None:
        """Add a legend above the right end of the axes."""
        legend = axes.legend(
            frameon=False, labelcolor=GREY, ncols=4, loc="lower right", bbox_to_anchor=(1, 0.99)
        )
        axes.set_title(axes.get_title(loc="left"), loc="left", pad=24, color=GREY, fontsize=11)
        legend.set_in_layout(True)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=144)
        return file.getvalue()


def label_bytes(axes: Axes) -> None:
    """Label the y axis in units of bytes."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: size(value)))


def readable(text: str) -> str:
    """Return a token's text in one line, with a dot for each character that no font here shows."""
    font = get_font(fontManager.findfont(FontProperties()))
    shown = (c if c.isprintable() and font.get_char_index(ord(c)) else "·" for c in text)
    return "".join(shown).strip(" ") or "␣"
