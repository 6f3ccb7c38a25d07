"""How a tree of likely continuations is laid out, and its picture for readers without a kernel.

Each token has a row, in which its likeliest continuation goes on, so that the first row is what the
model would say if it always took the likeliest token. Columns are as wide as their longest text.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ..history.likely import Continuation
from ..signs import signs
from ..tables import RIGHT, html_table
from .format import percent

__all__ = ["Grown", "Layout", "draw", "in_words", "lay_out"]

_MOST = 100  # tokens that are shown
_MOST_CHARACTERS = 24  # of a token's text
_NARROWEST = 5  # characters that a column has room for

# As in front_end/likely_tree.js, which fits columns and gaps to the room that there is.
_ROW, _LINE, _GAP, _START = 27, 22, 30, 8
_CHARACTER, _SHARE = 7.8, 48
_THIN, _THICK = 1.5, 6.5


@dataclass(frozen=True, slots=True)
class Grown:
    """One token of the tree and its place.

    Attributes
    ----------
    continuation : Continuation
    path : tuple of Continuation
        From the first token to this one.
    parent : int
        Its index in the layout; -1 for the first tokens.
    row : int
    text : str
        With signs for what is not seen.
    """

    continuation: Continuation
    path: tuple[Continuation, ...]
    parent: int
    row: int
    text: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The tokens that are shown, with their places.

    Attributes
    ----------
    grown : tuple of Grown
        Parents before their children, rows from top to bottom.
    columns : tuple of int
        Characters that each column has room for.
    n_omitted : int
        Tokens that are too unlikely to be shown.
    """

    grown: tuple[Grown, ...]
    columns: tuple[int, ...]
    n_omitted: int

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return self.grown[-1].row + 1 if self.grown else 0


def lay_out(roots: Sequence[Continuation], most: int = _MOST) -> Layout:
    """Return the likeliest tokens of a tree with their places.

    Parameters
    ----------
    roots : sequence of Continuation
    most : int
        Tokens; those with the highest joint probabilities.
    """
    everything = _walk(roots)
    kept = _likeliest(everything, most)
    places: dict[int, int] = {}  # from the index in the tree to that in the layout
    grown: list[Grown] = []
    columns: list[int] = []
    row = -1
    for i in sorted(kept):
        parent, path = everything[i]
        place = places[parent] if parent >= 0 else -1
        if not grown or place != len(grown) - 1:  # not the first to go on from the one before
            row += 1
        text = signs(path[-1].text, most=_MOST_CHARACTERS) or "∅"
        places[i] = len(grown)
        grown.append(Grown(path[-1], path, place, row, text))
        columns += [_NARROWEST] * (len(path) - len(columns))
        columns[len(path) - 1] = max(columns[len(path) - 1], _width(text))
    return Layout(tuple(grown), tuple(columns), len(everything) - len(grown))


def _walk(roots: Sequence[Continuation]) -> list[tuple[int, tuple[Continuation, ...]]]:
    """The parent's index and the path of every token, parents before their children."""
    found: list[tuple[int, tuple[Continuation, ...]]] = []
    stack: list[tuple[int, tuple[Continuation, ...]]] = [(-1, (r,)) for r in reversed(roots)]
    while stack:
        parent, path = stack.pop()
        stack += [(len(found), (*path, child)) for child in reversed(path[-1].children)]
        found.append((parent, path))
    return found


def _likeliest(everything: list[tuple[int, tuple[Continuation, ...]]], most: int) -> set[int]:
    """Indices of the tokens with the highest joint probabilities, none without its parent."""
    kept: set[int] = set()
    for i in sorted(range(len(everything)), key=lambda i: (-everything[i][1][-1].joint, i)):
        parent = everything[i][0]
        if len(kept) < most and (parent < 0 or parent in kept):
            kept.add(i)
    return kept


def _width(text: str) -> int:
    """Characters of a fixed-width font that a text takes; some are as wide as two."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


_BRAND = "var(--jp-brand-color1, #1976d2)"
_INK = "var(--jp-ui-font-color1, #212121)"
_MUTED = "var(--jp-ui-font-color2, #616161)"
_INDENT = "  "
_TYPED = "text-align:left;white-space:pre;font-family:monospace"


def draw(layout: Layout) -> str:
    """Return the tree as SVG.

    Parameters
    ----------
    layout : Layout
    """
    widths = [_CHARACTER * n + _SHARE for n in layout.columns]
    lefts = [_START + _GAP + sum(widths[:i]) + _GAP * i for i in range(len(widths))]
    width = (lefts[-1] + widths[-1] if widths else 0) + _SHARE + 8
    height = _ROW * layout.n_rows + 4
    first = layout.grown[0].text if layout.grown else ""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.4g}" height="{height}" '
        f'viewBox="0 0 {width:.4g} {height}" role="img" font-size="13" '
        f'aria-label="{len(layout.grown)} likely tokens, first {html.escape(first)}" '
        'font-family="var(--jp-code-font-family, monospace)">',
        f'<circle cx="{_START}" cy="{_LINE}" r="4" fill="{_BRAND}"/>',
    ]
    has_more = {each.parent for each in layout.grown}
    for each in reversed(layout.grown):  # the likeliest on top
        column, y = len(each.path) - 1, _LINE + _ROW * each.row
        begin = _START if column == 0 else lefts[column - 1] + widths[column - 1]
        parent = layout.grown[each.parent].row if column else 0
        parts.append(_link(each, begin, lefts[column], widths[column], _LINE + _ROW * parent, y))
    for i, each in enumerate(layout.grown):
        column, y = len(each.path) - 1, _LINE + _ROW * each.row
        parts.append(_label(each, lefts[column], widths[column], y, is_end=i not in has_more))
    return "".join(parts) + "</svg>"


def _link(each: Grown, begin: float, left: float, width: float, above: float, y: float) -> str:
    thick = _THIN + _THICK * each.continuation.probability
    middle = (begin + left) / 2
    way = f"M{begin:.5g} {above}C{middle:.5g} {above} {middle:.5g} {y} {left:.5g} {y}h{width:.5g}"
    shade = 0.4 + 0.5 * each.continuation.joint
    return (
        f'<path d="{way}" fill="none" stroke="{_BRAND}" stroke-opacity="{shade:.2f}" '
        f'stroke-width="{thick:.3g}"/>'
    )


def _label(each: Grown, left: float, width: float, y: float, *, is_end: bool) -> str:
    shares = each.continuation.probability, each.continuation.joint
    here, joint = (html.escape(percent(share)) for share in shares)
    muted, end = f'font-size="11" fill="{_MUTED}"', ""
    if is_end:
        end = f'<text x="{left + width + 6:.5g}" y="{y + 4}" {muted}>{joint}</text>'
    return (
        f"<g><title>{here} here, {joint} from the start</title>"
        f'<text x="{left:.5g}" y="{y - 7}" fill="{_INK}">{html.escape(each.text)}</text>'
        f'<text x="{left + width - 4:.5g}" y="{y - 7}" text-anchor="end" {muted}>'
        f"{here}</text></g>{end}"
    )


def in_words(layout: Layout) -> str:
    """Return the tree as an HTML table, a continuation indented below what it goes on from.

    Parameters
    ----------
    layout : Layout
    """
    rows = [
        (
            _INDENT * (len(each.path) - 1) + each.text,
            percent(each.continuation.probability),
            percent(each.continuation.joint),
        )
        for each in layout.grown
    ]
    if layout.n_omitted:
        rows.append((f"… {layout.n_omitted:,} less likely", "", ""))
    return html_table(rows, ("token", "here", "from the start"), styles=(_TYPED, RIGHT, RIGHT))
