"""What changed between two results of a suite, in words: for terminals, logs and notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ...errors import shown
from .cell import SuiteCell
from .comparing import Changes
from .table import reasons, verdict

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["html_text", "lines", "rich_text"]

_MOST = 20  # of one kind


def lines(comparison: Changes) -> Iterator[tuple[str, str]]:
    """Return the lines of the report, each with its kind."""
    yield "head", _head(comparison)
    for words in (*comparison.settings, *comparison.environment):
        yield "note", shown(words, 400)
    yield from _cells("new failure", comparison.new_failures, comparison)
    yield from _cells("still failing", comparison.still_failing, comparison)
    yield from _listed("fixed", [cell.id for cell in comparison.fixed])
    for move in comparison.moved[:_MOST]:
        draw = f", answer {move.draw + 1}" if move.draw else ""
        yield "name", f"other answer: {shown(move.id, 120)}{draw}, from token {move.token} on"
        yield from (("text", f"  {line}") for line in move.lines())
    if (n := len(comparison.moved) - _MOST) > 0:
        yield "note", f"and {n:,} more other answers"
    yield from _listed("only before", comparison.only_before)
    yield from _listed("only after", comparison.only_after)
    yield from _listed("not run", comparison.after.missing)
    if comparison.changed:
        yield from _listed("another model, case, check or setting", comparison.changed)
    if comparison.largest:
        yield (
            "note",
            (f"log-probabilities of equal tokens differ by up to {comparison.largest:.2g} nats"),
        )


def _head(comparison: Changes) -> str:
    counts = [
        (len(comparison.new_failures), "new failure", "new failures"),
        (len(comparison.fixed), "fixed", "fixed"),
        (len(comparison.still_failing), "still failing", "still failing"),
        (len(comparison.moved), "other answer", "other answers"),
    ]
    said = [f"{n:,} {one if n == 1 else many}" for n, one, many in counts if n]
    near = sum(move.is_near_tie for move in comparison.moved)
    if near:
        said[-1] += f" ({near:,} by a near-tie)"
    word = "passed" if comparison.passed else "FAILED"
    name = shown(comparison.after.name, 40)
    n = len(comparison.after.cells)
    nothing = f"nothing changed in {n:,} cell{'s' * (n != 1)}"
    if comparison.is_identical and not comparison.still_failing:
        said = [nothing]
    return f"suite {name}: {word}, {', '.join(said) or 'no cell in common'}"


def _cells(word: str, cells: Iterable[SuiteCell], comparison: Changes) -> Iterator[tuple[str, str]]:
    for place, cell in enumerate(cells):
        if place == _MOST:
            yield "note", f"and more of them: {word}"
            return
        before = comparison.before_of(cell)
        was = "it is new" if before is None else f"before: {verdict(before)}"
        yield "bad", f"{word}: {shown(cell.id, 120)}: {verdict(cell)} ({was})"
        yield from (("text", f"  {line}") for line in reasons(cell))


def _listed(what: str, ids: Iterable[str]) -> Iterator[tuple[str, str]]:
    names = [shown(id_, 80) for id_ in ids]
    if names:
        more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
        yield "note", f"{what}: {', '.join(names[:5])}{more}"


def rich_text(rows: Iterable[tuple[str, str]]) -> Text:
    """Return lines for a terminal."""
    from rich.text import Text

    styles = {"bad": "bold red", "note": "dim", "text": "", "name": ""}
    text = Text()
    for kind, line in rows:
        head = "bold red" if "FAILED" in line else "bold green"
        text.append(f"{line}\n", head if kind == "head" else styles[kind])
    text.rstrip()
    return text


def html_text(comparison: Changes) -> str:
    """Return the report for a notebook, in the colours of its theme."""
    bad, good = "var(--jp-error-color1, #d32f2f)", "var(--jp-success-color1, #388e3c)"
    (_, head), *rest = lines(comparison)
    colour = good if comparison.passed else bad
    written = "".join(
        f'<div style="white-space:pre-wrap{f";color:{bad}" if kind == "bad" else ""}">'
        f"{html.escape(line)}</div>"
        for kind, line in rest
    )
    return f'<div><strong style="color:{colour}">{html.escape(head)}</strong>{written}</div>'
