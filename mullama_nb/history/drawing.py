"""How a tree is drawn: one layout, as text and as SVG, for everything that shows trees.

One row per checkpoint, one lane per branch. The first child continues its parent's lane; the others
come before it, each one lane further in, so that lines never cross. Moves of the head change no row
and no lane.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from .message import content_text, message_of, message_text, whole_message
from .node import Node

__all__ = ["Row", "draw_svg", "draw_text", "label", "lay_out", "row_states", "words"]

_LABEL_CHARACTERS = 56
_MOST_ROWS = 200
_BEHIND_HEAD = 50
_WIDTH, _ROOM_FOR_TEXT = 720, 480
_ROW, _LANE, _LEFT, _RADIUS = 24, 16, 14, 5


N = TypeVar("N", bound=Node)
N_co = TypeVar("N_co", bound=Node, covariant=True)


class Drawable(Protocol[N_co]):
    """The data that a drawing needs, of a graph or a tree."""

    @property
    def root(self) -> N_co:
        """The origin of all branches."""

    @property
    def head(self) -> N_co:
        """The current node."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Row(Generic[N]):
    """One checkpoint and its position.

    Attributes
    ----------
    checkpoint : Checkpoint
    lane : int
        0 for the first branch.
    parent_row : int or None
        None for the root.
    lines : tuple of int
        Lanes whose lines pass this row.
    branches_off : bool
        Whether the checkpoint starts its own lane.
    """

    checkpoint: N
    lane: int
    parent_row: int | None
    lines: tuple[int, ...]
    branches_off: bool


def lay_out(tree: Drawable[N]) -> list[Row[N]]:
    """Return the row and lane of every checkpoint, including the root.

    Returns
    -------
    list of Row
        From top to bottom; parents before their children.
    """
    rows: list[Row[N]] = []
    # Each entry: checkpoint, lane, row of the parent, lanes with a line, whether it branches off.
    stack: list[tuple[N, int, int | None, tuple[int, ...], bool]] = [
        (tree.root, 0, None, (), False)
    ]
    while stack:
        checkpoint, lane, parent_row, lines, branches_off = stack.pop()
        index = len(rows)
        rows.append(Row(checkpoint, lane, parent_row, lines, branches_off))
        children = checkpoint.children
        if children:
            stack.append((children[0], lane, index, lines, False))
            stack += [
                (child, lane + 1, index, (*lines, lane), True) for child in reversed(children[1:])
            ]
    return rows


def words(checkpoint: Node) -> str:
    """Return a checkpoint's message, or the text of its tokens if that is only a part of an answer.

    A piece that was cut off a question stands for all of it, without the template around it.
    """
    notes = checkpoint.metadata
    if not notes.is_message or (notes.continues and notes.message is None and notes.is_answer):
        return checkpoint.text
    end = whole_message(checkpoint)
    if end.metadata.message is None and not notes.is_answer and (notes.cut or notes.continues):
        return "…"  # what it was has been pruned
    message = message_of(end)
    calls = [str(call["function"]["name"]) for call in message.get("tool_calls") or ()]
    return content_text(message) or ", ".join(calls) or message_text(end)


def label(checkpoint: Node, n_characters: int = _LABEL_CHARACTERS) -> str:
    """Return the beginning of a checkpoint's text, in one line."""
    if checkpoint.is_root:
        return "empty"
    line, notes = " ".join(words(checkpoint).split()), checkpoint.metadata
    if notes.is_message and notes.continues and not notes.is_answer:
        line = f"… {line}" if line != "…" else line  # the rest of a question
    return line if len(line) <= n_characters else line[: n_characters - 1].rstrip() + "…"


def row_states(checkpoint: Node) -> list[str]:
    """Return what is unusual about a checkpoint's rows, in words."""
    is_elsewhere = bool(checkpoint.metadata.decoded_elsewhere)
    states = ["decoded elsewhere"] if is_elsewhere else []
    # Rows that were left where they were decoded are not lost.
    if checkpoint.tokens and checkpoint.place not in ("memory", "lost" if is_elsewhere else ""):
        states.append(checkpoint.place)
    if not checkpoint.rows_exact:
        states.append("evaluated again")
    return states


def _marks(tree: Drawable[Node], checkpoint: Node) -> list[str]:
    marks = [f"[{name}]" for name in checkpoint.tags]
    if checkpoint.is_unfinished:
        marks.append("(unfinished)")
    marks += [f"({state})" for state in row_states(checkpoint)]
    if checkpoint is tree.head:
        marks.append("← HEAD")
    return marks


def _window(tree: Drawable[Node], rows: Sequence[Row[Any]]) -> range:
    """The rows that are shown: the first ones or, where the head is not among them, those up to it.

    What follows the head is shown too, as far as it leaves most of the room to what led there.
    """
    if len(rows) <= _MOST_ROWS:
        return range(len(rows))
    head = next(i for i, row in enumerate(rows) if row.checkpoint is tree.head)
    stop = _MOST_ROWS if head < _MOST_ROWS else min(len(rows), head + 1 + _BEHIND_HEAD)
    return range(stop - _MOST_ROWS, stop)


def draw_text(tree: Drawable[Node]) -> str:
    """Return the tree as text, at most 200 rows, including the head."""
    active = set(tree.head.lineage())
    rows = lay_out(tree)
    window = _window(tree, rows)
    out = [_left_out(window.start, "before")] if window.start else []
    for row in rows[window.start : window.stop]:
        checkpoint = row.checkpoint
        graph = "".join("│ " if lane in row.lines else "  " for lane in range(row.lane))
        if row.branches_off:
            graph = graph[:-2] + "├─"
        dot = "●" if checkpoint in active else "○"
        words = ["root"]
        if not checkpoint.is_root:
            words = [checkpoint.short_id, checkpoint.metadata.role or "", label(checkpoint)]
        words += _marks(tree, checkpoint)
        out.append(f"{graph}{dot} {' '.join(filter(None, words))}")
    if window.stop < len(rows):
        out.append(_left_out(len(rows) - window.stop))
    return "\n".join(out)


def _left_out(n: int, where: str = "") -> str:
    return f"… {n} more checkpoint{'s' * (n != 1)}{where and ' '}{where}"


def draw_svg(tree: Drawable[Node]) -> str:
    """Return the tree as SVG, in JupyterLab's theme colours where available.

    Equal trees give equal SVG; all text from models and users is escaped.
    """
    rows = lay_out(tree)
    window = _window(tree, rows)
    active = set(tree.head.lineage())
    text_x = _LEFT + (1 + max(rows[i].lane for i in window)) * _LANE + 4
    width = max(_WIDTH, text_x + _ROOM_FOR_TEXT)
    before, after = window.start, len(rows) - window.stop
    first = window.start - bool(before)  # a line of words goes before it
    height = _ROW * (len(window) + bool(before) + bool(after))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="Tree of {len(tree)} checkpoints" '
        'font-family="var(--jp-ui-font-family, system-ui, sans-serif)" font-size="13">'
    ]
    # Lines of the active path last, so that they lie on top.
    edges = sorted(_edges(rows, window), key=lambda i: rows[i].checkpoint in active)
    parts += [_edge(rows, i, first, window.stop, rows[i].checkpoint in active) for i in edges]
    for i in window:
        place = (i - first, text_x, width - 8)
        parts.append(_node(tree, rows[i], place, rows[i].checkpoint in active))
    for n, at, where in ((before, 0, "before"), (after, window.stop - first, "")):
        if n:
            said = _left_out(n, where)
            parts.append(f'<text x="{text_x}" y="{_y(at) + 4:g}" fill="{_MUTED}">{said}</text>')
    return "".join(parts) + "</svg>"


_BRAND = "var(--jp-brand-color1, #1976d2)"
_MUTED = "var(--jp-ui-font-color2, #757575)"
_FAINT = "var(--jp-border-color1, #bdbdbd)"
_INK = "var(--jp-ui-font-color1, #212121)"
_PAPER = "var(--jp-layout-color1, #ffffff)"


def _x(lane: int) -> int:
    return _LEFT + lane * _LANE


def _y(row: int) -> float:
    return _ROW * row + _ROW / 2


def _edges(rows: Sequence[Row[Any]], window: range) -> list[int]:
    """Rows whose line to their parent is seen; of those that go further down one for each lane."""
    seen = [i for i in window if rows[i].parent_row is not None]
    passing: dict[int, int] = {}
    for i in range(window.stop, len(rows)):
        parent_row = rows[i].parent_row
        if parent_row is not None and parent_row < window.stop:
            passing[rows[parent_row].lane] = i
    return [*seen, *passing.values()]


def _edge(rows: Sequence[Row[Any]], index: int, first: int, stop: int, active: bool) -> str:
    """The line from a row to its parent, as far as both are in the picture."""
    row = rows[index]
    assert row.parent_row is not None
    x0, y0 = _x(rows[row.parent_row].lane), _y(row.parent_row - first)
    x1, y1 = _x(row.lane), _y(index - first)
    y0 = max(y0, 0)
    bend = f"V{y1 - _ROW / 2:g}Q{x0} {y1:g} {x1} {y1:g}" if x0 != x1 else f"V{y1:g}"
    if index >= stop:
        bend = f"V{_ROW * (stop - first):g}"
    colour, width = (_BRAND, 2) if active else (_FAINT, 1.5)
    return f'<path d="M{x0} {y0:g}{bend}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _node(tree: Drawable[Node], row: Row[Any], place: tuple[int, int, int], active: bool) -> str:
    index, text_x, right = place
    checkpoint, y = row.checkpoint, _y(index)
    head = checkpoint is tree.head
    stroke = _BRAND if active else _FAINT
    fill = _BRAND if head else _PAPER
    ink = _INK if active else _MUTED
    role = str(checkpoint.metadata.role or "")
    marks = _marks(tree, checkpoint)
    shown = label(checkpoint, _LABEL_CHARACTERS - sum(map(len, marks)) // 2)
    figures = f"{len(checkpoint.tokens)} tokens" if checkpoint.tokens else ""
    return (
        f'<circle cx="{_x(row.lane)}" cy="{y:g}" r="{_RADIUS}" fill="{fill}" stroke="{stroke}" '
        f'stroke-width="2"/><text x="{text_x}" y="{y + 4:g}" fill="{ink}">'
        f'<tspan fill="{_MUTED}">{html.escape(role)}</tspan> '
        f"<tspan{_bold(head)}>{html.escape(shown)}</tspan> "
        f'<tspan fill="{_BRAND}">{html.escape(" ".join(marks))}</tspan></text>'
        f'<text x="{right}" y="{y + 4:g}" text-anchor="end" fill="{_MUTED}">{figures}</text>'
    )


def _bold(head: bool) -> str:
    return ' font-weight="600"' if head else ""
