"""How a tree is drawn, as text and as SVG, for everything that shows trees."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from ..palette import BLUE, GREY
from ..signs import signs
from .layout import Drawable, Row, lay_out, path_rows, row_of, segments, shared_tokens
from .message import content_text, message_of, message_text, whole_message
from .node import Node

__all__ = [
    "draw_fork",
    "draw_html",
    "draw_svg",
    "draw_text",
    "label",
    "lines_before",
    "row_states",
    "speaker",
    "words",
]

_LABEL_CHARACTERS = 56
_MOST_ROWS = 200
_BEHIND_HEAD = 50
_WIDTH, _ROOM_FOR_TEXT = 720, 480
_ROW, _LANE, _LEFT, _RADIUS = 24, 16, 14, 5
_FORK_WIDTH = 16
# What XML cannot hold, and a terminal would obey.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_SPEAKERS = {
    "user": "You",
    "assistant": "Model",
    "system": "System",
    "developer": "Developer",
    "tool": "Tool",
}


def speaker(role: object) -> str:
    """Return what a role is called in pictures: people talk with a model."""
    return _plain(_SPEAKERS.get(str(role), str(role))) if role else ""


def _plain(text: str) -> str:
    """The text with signs for control characters."""
    return _CONTROLS.sub(lambda found: signs(found[0]), text)


def words(checkpoint: Node) -> str:
    """Return the message up to a checkpoint, without the template around it.

    A piece that was cut off a question stands for all of it. Without a message it is the text of
    the tokens.
    """
    notes = checkpoint.metadata
    if not notes.is_message:
        return checkpoint.text
    end = whole_message(checkpoint)
    if end.metadata.message is None and not notes.is_answer and (notes.cut or notes.continues):
        return "…"  # what it was has been pruned
    message = message_of(end)
    calls = [str(call["function"]["name"]) for call in message.get("tool_calls") or ()]
    return content_text(message) or ", ".join(calls) or message_text(end)


def label(checkpoint: Node, n_characters: int = _LABEL_CHARACTERS) -> str:
    """Return the beginning of a checkpoint's text, in one line."""
    line = "root" if checkpoint.is_root else _plain(" ".join(words(checkpoint).split()))
    return line if len(line) <= n_characters else line[: n_characters - 1].rstrip() + "…"


def row_states(checkpoint: Node) -> list[str]:
    """Return what is unusual about the rows of a message's checkpoints, in words."""
    parts = segments(checkpoint)
    is_elsewhere = any(part.metadata.decoded_elsewhere for part in parts)
    states = ["decoded elsewhere"] if is_elsewhere else []
    for part in parts:
        # Rows that were left where they were decoded are not lost.
        usual = ("memory", "lost" if part.metadata.decoded_elsewhere else "")
        if part.tokens and part.place not in usual:
            states.append(part.place)
    if not all(part.rows_exact for part in parts):
        states.append("evaluated again")
    return [*dict.fromkeys(states)]


def _tags(tree: Drawable[Node]) -> dict[str, list[str]]:
    """The tags of each row, by its checkpoint's id."""
    found: dict[str, list[str]] = {}
    for name in sorted(tree.tags):
        found.setdefault(row_of(tree.tags[name]).id, []).append(name)
    return found


def _marks(tree: Drawable[Node], checkpoint: Node, tags: Sequence[str]) -> list[str]:
    marks = [f"[{_plain(name)}]" for name in tags]
    if n := shared_tokens(checkpoint):
        marks.append(f"(forked at token {n})")
    if checkpoint.is_unfinished:
        marks.append("(unfinished)")
    marks += [f"({state})" for state in row_states(checkpoint)]
    if checkpoint is row_of(tree.head):
        marks.append("← HEAD")
    return marks


def _window(tree: Drawable[Node], rows: Sequence[Row[Any]]) -> range:
    """The rows that are shown: the first ones or, where the head is not among them, those up to it.

    What follows the head is shown too, as far as it leaves most of the room to what led there.
    """
    if len(rows) <= _MOST_ROWS:
        return range(len(rows))
    at_head = row_of(tree.head)
    head = next(i for i, row in enumerate(rows) if row.checkpoint is at_head)
    stop = _MOST_ROWS if head < _MOST_ROWS else min(len(rows), head + 1 + _BEHIND_HEAD)
    return range(stop - _MOST_ROWS, stop)


def draw_text(tree: Drawable[Node]) -> str:
    """Return the tree as text, at most 200 rows, including the head."""
    active, tags = set(path_rows(tree.head)), _tags(tree)
    rows = lay_out(tree)
    window = _window(tree, rows)
    out = [_left_out(window.start, "before")] if window.start else []
    for row in rows[window.start : window.stop]:
        checkpoint = row.checkpoint
        graph = lines_before(row)
        dot = "●" if checkpoint in active else "○"
        said = [label(checkpoint), *_marks(tree, checkpoint, tags.get(checkpoint.id, ()))]
        if not checkpoint.is_root:
            said = [checkpoint.short_id, speaker(checkpoint.metadata.role), *said]
        out.append(f"{graph}{dot} {' '.join(filter(None, said))}")
    if window.stop < len(rows):
        out.append(_left_out(len(rows) - window.stop))
    return "\n".join(out)


def lines_before(row: Row[Any]) -> str:
    """Return the lines in front of a row of text."""
    graph = "".join("│ " if lane in row.lines else "  " for lane in range(row.lane))
    return graph[:-2] + "├─" if row.branches_off else graph


def draw_html(tree: Drawable[Node]) -> str:
    """Return the tree as preformatted text, which every page shows, however little it is trusted.

    JupyterLab drops SVG from notebooks that it does not trust and keeps the texts in it, run on.
    """
    return f'<pre style="{_AS_TEXT}">{html.escape(draw_text(tree))}</pre>'


def _left_out(n: int, where: str = "") -> str:
    return f"… {n} more checkpoint{'s' * (n != 1)}{where and ' '}{where}"


def draw_svg(tree: Drawable[Node]) -> str:
    """Return the tree as SVG, in JupyterLab's theme colours where available.

    Equal trees give equal SVG; all text from models and users is escaped.
    """
    rows = lay_out(tree)
    window = _window(tree, rows)
    active, tags = set(path_rows(tree.head)), _tags(tree)
    text_x = _LEFT + (1 + max(rows[i].lane for i in window)) * _LANE + 4
    width = max(_WIDTH, text_x + _ROOM_FOR_TEXT)
    before, after = window.start, len(rows) - window.stop
    first = window.start - bool(before)  # a line of words goes before it
    height = _ROW * (len(window) + bool(before) + bool(after))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="Tree of {len(tree)} checkpoints" '
        'font-family="var(--jp-ui-font-family, system-ui, sans-serif)" font-size="13">'
        f'<rect width="{width}" height="{height}" fill="{_PAPER}"/>'  # a file may be seen on any
    ]
    # Lines of the active path last, so that they lie on top.
    edges = sorted(_edges(rows, window), key=lambda i: rows[i].checkpoint in active)
    parts += [_edge(rows, i, first, window.stop, rows[i].checkpoint in active) for i in edges]
    for i in window:
        checkpoint, place = rows[i].checkpoint, (i - first, text_x, width - 8)
        marks = _marks(tree, checkpoint, tags.get(checkpoint.id, ()))
        parts.append(_node(tree, rows[i], place, checkpoint in active, marks))
    for n, at, where in ((before, 0, "before"), (after, window.stop - first, "")):
        if n:
            said = _left_out(n, where)
            parts.append(f'<text x="{text_x}" y="{_y(at) + 4:g}" fill="{_MUTED}">{said}</text>')
    return _NOT_XML.sub("�", "".join(parts) + "</svg>")


# What a model may say and XML cannot hold: a file with it would not open.
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_AS_TEXT = "margin:0;white-space:pre;overflow-x:auto;line-height:1.5"

_BRAND = "var(--jp-brand-color1, #1976d2)"
_MUTED = "var(--jp-ui-font-color2, #757575)"
_INK = "var(--jp-ui-font-color1, #212121)"
_PAPER = "var(--jp-layout-color1, #ffffff)"
_FORK = "M3 13V1M3 9Q9 9 9 5V1"  # as in front_end/timeline_picture.js, 12 wide and 14 high


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
    colour, width = (BLUE, 2) if active else (GREY, 1.5)
    return f'<path d="M{x0} {y0:g}{bend}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _node(
    tree: Drawable[Node],
    row: Row[Any],
    place: tuple[int, int, int],
    active: bool,
    marks: Sequence[str],
) -> str:
    index, text_x, right = place
    checkpoint, y = row.checkpoint, _y(index)
    head = checkpoint is row_of(tree.head)
    stroke = BLUE if active else GREY
    fill = BLUE if head else _PAPER
    ink = _INK if active else _MUTED
    role = speaker(checkpoint.metadata.role)
    shown = label(checkpoint, _LABEL_CHARACTERS - sum(map(len, marks)) // 2)
    n = sum(len(part.tokens) for part in segments(checkpoint))
    figures = f"{n} token{'s' * (n != 1)}" if n else ""
    fork = ""
    if n_shared := shared_tokens(checkpoint):
        fork = draw_fork(n_shared, f'x="{text_x}" y="{y - 7:g}" ', _MUTED)
        text_x += _FORK_WIDTH
    return (
        f'<circle cx="{_x(row.lane)}" cy="{y:g}" r="{_RADIUS}" fill="{fill}" stroke="{stroke}" '
        f'stroke-width="2"/>{fork}<text x="{text_x}" y="{y + 4:g}" fill="{ink}">'
        f'<tspan fill="{_MUTED}">{html.escape(role)}</tspan> '
        f"<tspan{_bold(head)}>{html.escape(shown)}</tspan> "
        f'<tspan fill="{_BRAND}">{html.escape(" ".join(marks))}</tspan></text>'
        f'<text x="{right}" y="{y + 4:g}" text-anchor="end" fill="{_MUTED}">{figures}</text>'
    )


def draw_fork(n_shared: int, place: str = "", colour: str = "currentcolor") -> str:
    """Return the sign for a message that was forked inside.

    Parameters
    ----------
    n_shared : int
        Tokens that it shares with an older version.
    place : str
        Attributes that place it in another drawing.
    colour : str
    """
    return (
        f'<svg {place}width="12" height="14" viewBox="0 0 12 14"><title>forked at token {n_shared}'
        f'</title><path d="{_FORK}" fill="none" stroke="{colour}" stroke-width="1.5"/></svg>'
    )


def _bold(head: bool) -> str:
    return ' font-weight="600"' if head else ""
