"""The active path's memory, against full snapshots and the context's size."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..history.chat import Chat
from ..history.events import Event, Progress, Recalled, Spilled, Tagged, TokenAdded
from ..history.tree import CheckpointTree
from ..palette import AMBER, BLUE, GREY
from ..plots.growth import Growth, labelled, measure_growth
from ..size import size
from ..tables import LEFT, RIGHT, html_table
from .actions import stops_first
from .base import TreeWidget
from .esm import front_end
from .pictures import picture_or_words

__all__ = ["KVPlot"]

_MOST_STEPS = 64
# The same as in front_end/kv_bars.js, which draws it as wide as there is room.
_WIDTH, _LEFT, _WIDEST = 720, 64, 48
_GAUGE, _TOP, _BOTTOM, _HEIGHT = 8, 28, 148, 168
_LETTER = 7


class KVPlot(TreeWidget):
    """KV bytes along the active path, one bar per checkpoint, and the context's cells in use.

    Bars are named S for a system message, Q1 and A1 for the first question and its answer; a click
    goes there. A bar's coloured part is the rows that the checkpoint keeps: blue on this branch
    only, amber where branches share them. Together with the grey part below, it is a full
    snapshot's size.

    Parameters
    ----------
    source : Chat or CheckpointTree
    """

    _esm, _css = front_end("kv_plot")

    def __init__(self, source: Chat | CheckpointTree) -> None:
        super().__init__(source)

    def take_snapshot(self) -> dict[str, Any]:
        """Return the sums, and the last 64 checkpoints of the active path."""
        growth = measure_growth(self.tree)
        shown = growth.steps[-_MOST_STEPS:]
        everything = self.tree.kv_bytes()
        return {
            "omitted": len(growth.steps) - len(shown),
            "steps": [
                [
                    step.checkpoint.id,
                    step.name,
                    step.label,
                    len(step.checkpoint.tokens),
                    step.n_bytes,
                    step.before,
                    int(step.is_shared),
                ]
                for step in shown
            ],
            "tokens": growth.n_tokens,
            "shared_tokens": max(
                (s.checkpoint.stop for s in growth.steps if s.is_shared), default=0
            ),
            "cells": growth.n_ctx,
            "kept": growth.kept,
            "snapshots": growth.snapshots,
            "all_kept": everything.total,
            "all_snapshots": everything.snapshots,
            "per_token": growth.bytes_per_token,
        }

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """Return the number of new tokens, or a whole snapshot for any other change."""
        quiet = (TokenAdded, Progress, Tagged, Spilled, Recalled)
        if not all(isinstance(event, quiet) for event in events):
            yield {"all": self.take_snapshot()}
        elif n := sum(isinstance(event, TokenAdded) for event in events):
            yield {"live": n}

    @stops_first
    def do_checkout(self, checkpoint: str) -> None:
        """Move the head to a checkpoint."""
        target = self.tree if self.chat is None else self.chat
        target.checkout(checkpoint)

    def draw_html(self) -> str:
        """Return the plot as SVG, and as a table, with its sums in words."""
        growth = measure_growth(self.tree)
        everything = self.tree.kv_bytes()
        return (
            f"<p>{_in_short(growth)}</p>{picture_or_words(_draw(growth), _table(growth))}"
            f"<p>Whole tree: {size(everything.total)} kept, "
            f"{size(everything.snapshots)} as full snapshots</p>"
        )

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
        bundle, metadata = super()._repr_mimebundle_(**options)
        bundle["image/svg+xml"] = _draw(measure_growth(self.tree))
        return bundle, metadata


_MUTED = "var(--jp-ui-font-color2, #757575)"
_LINE = "var(--jp-border-color2, #d0d0d0)"


def _in_short(growth: Growth) -> str:
    return (
        f"{size(growth.kept)} kept, {size(growth.snapshots)} as full snapshots; "
        f"{growth.n_tokens:,} of {growth.n_ctx:,} tokens"
    )


def _table(growth: Growth) -> str:
    rows = [
        (
            *(step.name, step.label, f"{len(step.checkpoint.tokens):,}", size(step.n_bytes)),
            *(size(step.snapshot), "yes" if step.is_shared else ""),
        )
        for step in growth.steps[-_MOST_STEPS:]
    ]
    heads = ("", "", "tokens", "kept", "as a full snapshot", "shared")
    return html_table(rows, heads, styles=("", LEFT, RIGHT, RIGHT, RIGHT, LEFT))


def _box(x: float, y: float, width: float, height: float, style: str, title: str = "") -> str:
    inner = f"<title>{html.escape(title)}</title>" if title else ""
    extent = f'width="{max(width, 0):.4g}" height="{max(height, 0):.4g}"'
    return f'<rect x="{x:.4g}" y="{y:.4g}" {extent} {style}>{inner}</rect>'


def _ticks(top: float) -> list[float]:
    """Round values up to the highest, three or four of them, as in front_end/kv_bars.js."""
    if not top:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(top / 3.5))
    step = power * next(f for f in (1, 2, 2.5, 5, 10) if f * power >= top / 3.5)
    return [i * step for i in range(math.floor(top / step) + 1)]


def _draw(growth: Growth) -> str:
    steps = growth.steps[-_MOST_STEPS:]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{_in_short(growth)}" '
        'font-family="var(--jp-ui-font-family, system-ui, sans-serif)" font-size="11">',
        _box(0, 0, _WIDTH, _GAUGE, f'rx="2" fill="{_LINE}"'),
    ]
    own, shared, grey = (
        f'fill="{BLUE}"',
        f'fill="{AMBER}"',
        f'fill="{GREY}" fill-opacity="0.3"',
    )
    cell = _WIDTH / growth.n_ctx
    for step in growth.steps:
        checkpoint = step.checkpoint
        width = len(checkpoint.tokens) * cell
        style = shared if step.is_shared else own
        parts.append(_box(checkpoint.start * cell, 0, width - (width > 4), _GAUGE, style))
    top = max((step.snapshot for step in steps), default=0)
    scale = (_BOTTOM - _TOP) / (top or 1)
    for value in _ticks(top):
        y = _BOTTOM - value * scale
        parts.append(f'<path d="M{_LEFT} {y:g}H{_WIDTH}" stroke="{_LINE}"/>')
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + 4:g}" text-anchor="end" fill="{_MUTED}">'
            f"{size(value)}</text>"
        )
    width = min(_WIDEST, (_WIDTH - _LEFT) / max(len(steps), 1))
    for i, step in enumerate(steps):
        x, tall, low = _LEFT + i * width + 1, step.n_bytes * scale, step.before * scale
        n_tokens = len(step.checkpoint.tokens)
        title = f"{step.name} {step.label}, {n_tokens} tokens, {step.n_bytes:,} bytes"
        parts.append(_box(x, _BOTTOM - low, width - 2, low, grey))
        style = shared if step.is_shared else own
        parts.append(_box(x, _BOTTOM - low - tall, width - 2, tall, style, title.strip()))
    names = [step.name for step in steps]
    for i in labelled(names, width, _LETTER):
        x = _LEFT + (i + 0.5) * width
        parts.append(
            f'<text x="{x:.5g}" y="{_BOTTOM + 14}" text-anchor="middle" fill="{_MUTED}">'
            f"{names[i]}</text>"
        )
    return "".join(parts) + "</svg>"
