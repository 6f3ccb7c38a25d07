"""A figure of what lies in the cells of a context, and of what its branches share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..history.cell_map.live import Cell, CellMap
from ..history.cell_map.live import cell_map as take_map
from ..history.cell_map.strips import Strip
from ..history.chat import Chat
from ..history.tree import CheckpointTree
from ..signs import signs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["cell_map"]

_WIDTH = 9.6  # inches
# Cells on the active path up to which a row has so many: with words, as squares, as dots.
_COLUMNS = ((84, 14), (500, 48), (2000, 96), (1 << 30, 160))
_WITH_WORDS = 14
_LONGEST = 8  # characters in a cell
_FREE_ROWS = 2  # at least one full row of free cells is shown where there are so many
_MOST_LANES = 48  # that are told apart
_LANE = 0.2  # inches
_SPARSE = 24  # lanes up to here have names
_STRENGTH = {"context": 0.85, "memory": 0.4, "disk": 0.18, "dropped": 0.0}
_OUTSIDE = {"memory": "kept in memory", "disk": "kept on disk", "dropped": "dropped"}
_IN_WORDS = {"user": "you", "assistant": "model", "template": "chat template"}


def cell_map(source: Chat | CheckpointTree | CellMap) -> Figure:
    """Plot which token lies in which cell, and what branches share.

    Parameters
    ----------
    source : Chat, CheckpointTree or CellMap

    Returns
    -------
    matplotlib.figure.Figure
        Above, the cells of the context in order, coloured by who said it: with their texts where
        there are few, and underlined where layers with a sliding window read them. Below, if there
        are branches, all strips by position: what they share once, the first branch behind it, the
        others in lanes below, underlined in another colour where the chat template had them
        evaluated again. What the context holds is strong;
        rows in memory are paler, those on disk faint, dropped ones an outline.
    """
    from .theme import GREY, ClearFigure  # here, because matplotlib takes half a second

    cells = source if isinstance(source, CellMap) else take_map(source)
    active, n_lanes = cells.active, 1 + max((strip.lane for strip in cells.strips), default=0)
    grid = _Grid.of(cells, len(active))
    has_branches = len(cells.strips) > 1
    heights = [grid.height, *[_LANE * min(n_lanes, _MOST_LANES) + 0.7] * has_branches]
    figure = ClearFigure(width=_WIDTH, height=sum(heights) + 1.0)
    several = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    figure.suptitle(_title(cells), color=GREY, fontsize=12, x=0.01, ha="left", parse_math=False)
    for axes in several:
        axes.patch.set_alpha(0)
        axes.tick_params(colors=GREY, length=0)
        for side in ("top", "right", "left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.set_yticks([])
    _draw_grid(several[0], active, grid, cells)
    if has_branches:
        _draw_strips(several[1], cells.strips, n_lanes)
    _add_legend(figure, cells)
    return figure


def _title(cells: CellMap) -> str:
    n, n_ctx = f"{cells.n_used:,}", f"{cells.n_ctx:,}"
    if cells.memory == "state":
        return f"{n} of {n_ctx} tokens, read into one state of fixed size: there are no cells"
    title = f"{n} of {n_ctx} cells, one token and one row of keys and values each"
    if cells.memory == "hybrid":
        title += "; other layers have one state"
    if cells.window:
        title += f"; some layers read only {cells.window:,} of them"
    return title


@dataclass(frozen=True)
class _Grid:
    """How cells are laid out.

    Attributes
    ----------
    n_columns, n_rows : int
    n_shown : int
        Cells, free ones included.
    n_free : int
        Free cells that are not shown.
    """

    n_columns: int
    n_rows: int
    n_shown: int
    n_free: int

    @classmethod
    def of(cls, cells: CellMap, n_active: int) -> _Grid:
        n_columns = next(columns for most, columns in _COLUMNS if n_active <= most)
        n_rows = math.ceil(n_active / n_columns) + _FREE_ROWS
        n_shown = max(n_active, min(n_rows * n_columns, n_active + cells.n_free))
        n_rows = max(1, math.ceil(n_shown / n_columns))
        return cls(n_columns, n_rows, n_shown, max(0, n_active + cells.n_free - n_shown))

    @property
    def has_words(self) -> bool:
        return self.n_columns == _WITH_WORDS

    @property
    def height(self) -> float:
        """Inches."""
        return self.n_rows * (0.42 if self.has_words else _WIDTH / self.n_columns)


def _draw_grid(axes: Axes, active: Sequence[Cell], grid: _Grid, cells: CellMap) -> None:
    from matplotlib.collections import PolyCollection

    from .theme import GREY, readable

    gap = 0.06 if grid.n_columns < 100 else 0.12
    corners = [_box(i % grid.n_columns, i // grid.n_columns, gap) for i in range(grid.n_shown)]
    colours = [_colour(cell.role) for cell in active]
    n_free = grid.n_shown - len(active)
    strength = 0.16 if grid.has_words else _STRENGTH["context"]
    edges = [*colours, *[GREY] * n_free] if grid.has_words else GREY
    faces = [(colour, strength) for colour in colours] + [(GREY, 0.06)] * n_free
    axes.add_collection(
        PolyCollection(
            corners,
            facecolors=faces,
            edgecolors=edges,
            linewidths=[1.2] * len(active) + [0.4] * n_free if grid.has_words else 0,
        )
    )
    axes.set_xlim(0, grid.n_columns)
    axes.set_ylim(grid.n_rows, 0)
    axes.set_xticks([])
    if grid.has_words:
        for i, cell in enumerate(active):
            x, y = i % grid.n_columns, i // grid.n_columns
            axes.text(
                *(x + 0.5, y + 0.42, readable(signs(cell.text, most=_LONGEST))),
                color=_colour(cell.role),
                fontsize=8,
                ha="center",
                va="center",
                parse_math=False,
            )
            axes.text(x + 0.1, y + 0.88, f"{cell.position}", color=GREY, fontsize=5.5)
    if cells.window:
        read = range(cells.window_start, len(active))
        begins = [i % grid.n_columns for i in read]
        heights = [i // grid.n_columns + 1 - gap / 3 for i in read]
        axes.hlines(heights, begins, [x + 1 for x in begins], colors=GREY, linewidth=1.5)
    if grid.n_free:
        axes.set_xlabel(f"{grid.n_free:,} more cells are free", color=GREY, loc="right")


def _draw_strips(axes: Axes, strips: Sequence[Strip], n_lanes: int) -> None:
    from matplotlib.collections import PolyCollection

    from .theme import AMBER, GREY

    corners, faces, edges = list[list[tuple[float, float]]](), list[tuple[str, float]](), []
    gap = 0.12 if n_lanes <= _MOST_LANES else 0.0
    for strip in strips:
        for start, stop, role, place in _pieces(strip):
            corners.append(_box(start, strip.lane, gap, stop - start))
            faces.append((_colour(role), _STRENGTH[place]))
            edges.append((_colour(role), 1.0 if place != "context" else 0.0))
    axes.add_collection(PolyCollection(corners, facecolors=faces, edgecolors=edges, linewidths=0.5))
    again = [(strip.lane, *span) for strip in strips for span in strip.again]
    if again:
        lanes, begins, stops = zip(*again, strict=True)
        heights = [lane + 1 - gap / 2 for lane in lanes]
        axes.hlines(heights, begins, stops, colors=AMBER, linewidth=2)
    last = max(strip.stop for strip in strips)
    axes.set_xlim(0, max(1, last) * 1.09)
    axes.set_ylim(n_lanes, 0)
    axes.set_xlabel("position of the token", color=GREY)
    if n_lanes <= _SPARSE:
        ends = {strip.lane: strip for strip in sorted(strips, key=lambda strip: strip.stop)}
        for lane, strip in ends.items():
            name = strip.checkpoints[-1][0][:7] if strip.checkpoints else strip.id
            axes.annotate(
                f"{name}, {len(strip.tokens):,} of its own",
                (strip.stop, lane + 0.5),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                color=GREY,
                fontsize=7,
            )
        axes.set_xlim(0, max(1, last) * 1.3)


def _pieces(strip: Strip) -> Iterable[tuple[int, int, str, str]]:
    """Stretches of one role in one place."""
    stops = sorted({stop for runs in (strip.roles, strip.places) for stop, _ in runs})
    start = 0
    for stop in stops:
        role = next(value for end, value in strip.roles if end > start)
        place = next(value for end, value in strip.places if end > start)
        yield strip.start + start, strip.start + stop, role, place
        start = stop


def _add_legend(figure: Figure, cells: CellMap) -> None:
    from matplotlib.patches import Patch

    from .theme import AMBER, GREY, readable

    roles = dict.fromkeys(role for strip in cells.strips for _, role in strip.roles)
    places = dict.fromkeys(place for strip in cells.strips for _, place in strip.places)
    patches = [
        Patch(facecolor=(_colour(role), 0.6), edgecolor=_colour(role), label=_said_by(role))
        for role in roles
    ]
    patches += [
        Patch(facecolor=(GREY, _STRENGTH[place]), edgecolor=GREY, linewidth=0.5, label=words)
        for place, words in _OUTSIDE.items()
        if place in places
    ]
    if any(strip.again for strip in cells.strips):
        patches.append(Patch(facecolor=AMBER, edgecolor=AMBER, label="evaluated again"))
    patches.append(Patch(facecolor=(GREY, 0.06), edgecolor=GREY, linewidth=0.4, label="free"))
    legend = figure.legend(
        handles=patches,
        frameon=False,
        labelcolor=GREY,
        ncols=8,
        loc="outside lower left",
        fontsize=8,
    )
    for text in legend.texts:
        text.set_parse_math(False)
        text.set_text(readable(text.get_text()))


def _said_by(role: str) -> str:
    return _IN_WORDS.get(role, role)


def _box(x: float, y: float, gap: float, width: float = 1) -> list[tuple[float, float]]:
    left, right = x + (gap if width == 1 else 0), x + width - (gap if width == 1 else 0)
    top, bottom = y + gap, y + 1 - gap
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _colour(role: str) -> str:
    from .theme import AMBER, BLUE, GREEN, GREY, PURPLE

    own = {"system": PURPLE, "developer": PURPLE, "user": BLUE, "assistant": GREEN}
    return GREY if role in ("template", "text") else own.get(role, AMBER)
