"""The cell map as SVG, for readers without a kernel: equal maps give equal text."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterator

from ..history.cell_map.strips import Cell, CellMap, Strip
from ..signs import signs

__all__ = ["draw_cells"]

_WIDTH = 720
_FEW, _READABLE = 120, 58  # as in front_end/cell_place.js: so many cells are drawn to be read
_APART = 5  # pixels from where cells are told apart
_MOST_LANES = 40
_MOST_CHARACTERS = 8
_INK = "var(--jp-ui-font-color1, #212121)"
_MUTED = "var(--jp-ui-font-color2, #757575)"
_LINE = "var(--jp-border-color2, #d0d0d0)"
_BRAND = "var(--jp-brand-color1, #1976d2)"
# Of both themes, as the reader's is not known; the same words as in front_end/cell_map.css.
_COLOURS = {
    "system": "#7e57c2",
    "user": "#1e88e5",
    "assistant": "#43a047",
    "tool": "#ef8e19",
    "template": "#8a94a0",
}
_DASHES = {"context": "", "memory": "4 3", "disk": "4 3", "dropped": "1 3"}


def draw_cells(cells: CellMap) -> str:
    """Return a cell map as SVG: a lane for each branch, the first 40 of them.

    Parameters
    ----------
    cells : CellMap
    """
    return _Drawing(cells).draw()


class _Drawing:
    """One picture, with the size that its cells have in it."""

    def __init__(self, cells: CellMap) -> None:
        self._cells = cells
        self._strips = [strip for strip in cells.strips if strip.lane < _MOST_LANES]
        self._extent = max([1, *(strip.stop for strip in self._strips)])
        free = min(cells.n_ctx, self._extent + max(4, self._extent // 8))
        self._shown = max(self._extent, free)
        fits = _WIDTH / self._shown
        self._cell = _READABLE if self._shown <= _FEW else fits
        self._height = 30 if self._is_read else 12
        self._pitch = self._height + 8

    @property
    def _is_read(self) -> bool:
        return self._cell >= _READABLE

    def draw(self) -> str:
        lanes = 1 + max([0, *(strip.lane for strip in self._strips)])
        width, height = math.ceil(self._shown * self._cell) + 2, lanes * self._pitch + 2
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" aria-label="{self.in_short()}" '
            'font-family="var(--jp-code-font-family, monospace)" font-size="11">',
            *self._hatches(),
            *self._free(),
        ]
        for strip in self._strips:
            parts += self._strip(strip)
        parts += map(self._path, self._strips)
        return "".join(parts) + "</svg>"

    def in_short(self) -> str:
        """The sums in words."""
        lanes = {strip.lane for strip in self._cells.strips}
        n, used, size = len(lanes), self._cells.n_used, self._cells.n_ctx
        branches = f"; {n:,} branches" if n > 1 else ""
        return f"{used:,} of {size:,} cells{branches}"

    def _hatches(self) -> Iterator[str]:
        used = {role for strip in self._strips for _, role in strip.roles}
        is_needed = any(place == "disk" for strip in self._strips for _, place in strip.places)
        for role in sorted(used if is_needed else ()):
            yield (
                f'<pattern id="mullama-hatch-{_kind(role)}" width="5" height="5" '
                'patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
                f'<path d="M0 0V5" stroke="{_COLOURS[_kind(role)]}"/></pattern>'
            )

    def _free(self) -> Iterator[str]:
        """The cells behind the lane of the active path's end, as far as there is room."""
        active = [strip for strip in self._strips if strip.is_active]
        _, lane = max(((s.start + s.n_active, s.lane) for s in active), default=(0, 0))
        begin = max([0, *(strip.stop for strip in self._strips if strip.lane == lane)])
        for first, last in self._boxes(begin, min(self._shown, self._cells.n_ctx)):
            y = lane * self._pitch + 1
            yield self._box(first, last, y, f'fill="none" stroke="{_LINE}"')

    def _strip(self, strip: Strip) -> Iterator[str]:
        y = strip.lane * self._pitch + 1
        if self._cell < _APART:
            for first, last, role, place in _runs(strip):
                yield self._box(strip.start + first, strip.start + last, y, _look(role, place))
            return
        for cell in strip.cells:
            look = _look(cell.role, cell.place)
            yield self._box(cell.position, cell.position + 1, y, look, _words(cell))
            if self._is_read:
                yield self._text(cell, y)

    def _boxes(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        if self._cell >= _APART:
            yield from ((i, i + 1) for i in range(first, last))
        elif first < last:
            yield first, last

    def _box(self, first: int, last: int, y: float, look: str, title: str = "") -> str:
        gap = 3 if self._is_read else 1 if self._cell >= _APART else 0
        x, width = first * self._cell + 1, max((last - first) * self._cell - gap, 0.5)
        inner = f"<title>{html.escape(title)}</title>" if title else ""
        return (
            f'<rect x="{x:.5g}" y="{y:g}" width="{width:.5g}" height="{self._height}" {look}>'
            f"{inner}</rect>"
        )

    def _text(self, cell: Cell, y: float) -> str:
        x = (cell.position + 0.5) * self._cell
        shown = signs(cell.text, most=_MOST_CHARACTERS)
        return (
            f'<text x="{x:g}" y="{y + 15:g}" text-anchor="middle" fill="{_INK}">'
            f"{html.escape(shown)}</text>"
            f'<text x="{x - self._cell / 2 + 4:g}" y="{y + 26:g}" font-size="8" fill="{_MUTED}">'
            f"{cell.position}</text>"
        )

    def _path(self, strip: Strip) -> str:
        """A line below what is active, and one from the fork where the strip begins."""
        parts = []
        stroke = f'stroke="{_BRAND}" stroke-width="3"' if strip.is_active else f'stroke="{_LINE}"'
        y = strip.lane * self._pitch + self._height + 3.5
        x = strip.start * self._cell + 0.5
        if strip.parent is not None:
            above = self._cells.strips[strip.parent].lane * self._pitch + self._height + 3.5
            if above != y:
                parts.append(f"M{x:.5g} {above:g}V{y:g}")
        if strip.is_active:
            parts.append(f"M{x:.5g} {y:g}H{x + strip.n_active * self._cell:.5g}")
        return f'<path d="{"".join(parts)}" fill="none" {stroke}/>' if parts else ""


def _kind(role: str) -> str:
    return role if role in _COLOURS else "template"


def _look(role: str, place: str) -> str:
    colour, dashes = _COLOURS[_kind(role)], _DASHES[place]
    fill = {
        "context": f'fill="{colour}" fill-opacity="0.3"',
        "memory": f'fill="{colour}" fill-opacity="0.08"',
        "disk": f'fill="url(#mullama-hatch-{_kind(role)})"',
        "dropped": 'fill="none"',
    }[place]
    return f'{fill} stroke="{colour}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")


def _runs(strip: Strip) -> Iterator[tuple[int, int, str, str]]:
    """Stretches of one role and one place."""
    stops = sorted({stop for runs in (strip.roles, strip.places) for stop, _ in runs})
    for first, last in itertools.pairwise([0, *stops]):
        yield first, last, _at(strip.roles, first), _at(strip.places, first)


def _at(runs: tuple[tuple[int, str], ...], index: int) -> str:
    return next(value for stop, value in runs if index < stop)


def _words(cell: Cell) -> str:
    share = "" if cell.probability is None else f", {100 * cell.probability:.1f} %"
    return f"{cell.position}: {signs(cell.text)} ({cell.role}{share}, {cell.place})"
