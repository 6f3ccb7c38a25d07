"""The results of a suite as a table of words: for terminals, logs and notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import shown
from ...tables import LEFT, Styled, html_table
from .cell import CheckResult, SuiteCell
from .matrix import Matrix

if TYPE_CHECKING:
    from rich.text import Text

__all__ = [
    "Column",
    "columns",
    "counts_in_words",
    "html_text",
    "kind_of",
    "lines",
    "reasons",
    "rich_text",
    "share_in_words",
    "tokens_in_words",
    "verdict",
]

_MOST_ROWS = 60  # with more cases, those that pass everywhere are only counted
_MOST_FAILURES = 100
_LABEL, _HEAD = 40, 24  # characters
_COLOURS = {
    "bad": "var(--jp-error-color1, #d32f2f)",
    "good": "var(--jp-success-color1, #388e3c)",
    "none": "var(--jp-ui-font-color2, #666)",
}
_STYLES = {"bad": "bold red", "good": "green", "none": "dim", "name": "", "": ""}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the matrix.

    Attributes
    ----------
    model, setting : str
    label : str
        Of the two what tells it from the other columns.
    """

    model: str
    setting: str
    label: str


def columns(result: Matrix) -> list[Column]:
    """Return the columns of a result: by model, then setting."""
    found = []
    for model in result.models:
        for setting in result.settings:
            many = [
                name for name, of in ((model, result.models), (setting, result.settings)) if of[1:]
            ]
            found.append(Column(model, setting, ", ".join(many) or model))
    return found


def verdict(cell: SuiteCell | None) -> str:
    """Return the verdict in a word, with the share where several answers were drawn."""
    if cell is None:
        return "not run"
    if cell.error is not None or cell.n_drawn == 1:
        return cell.word
    least = min(cell.findings, key=lambda finding: finding.share)
    return f"{cell.word} {least.n_passed}/{least.n_drawn}"


def kind_of(cell: SuiteCell | None) -> str:
    """Return how a verdict is shown: ``"good"``, ``"bad"``, or ``"none"`` if there is none."""
    return "none" if cell is None else "good" if cell.passed else "bad"


def counts_in_words(result: Matrix) -> str:
    """Return how many cells there are, and how many did not pass."""
    n, n_failed, n_missing = len(result.cells), len(result.failed), len(result.missing)
    said = [f"{n_failed:,} of {n:,} cells failed" if n_failed else f"{n:,} cell{'s' * (n != 1)}"]
    if n_missing:
        said.append(f"{n_missing:,} {'were' if n_missing > 1 else 'was'} not run")
    return ", ".join(said)


def tokens_in_words(result: Matrix) -> str:
    """Return how many tokens were evaluated, and how many it would have been; empty if none."""
    n, alone = result.tokens_evaluated, result.tokens_alone
    if not alone:
        return ""
    if n >= alone:
        return f"{n:,} tokens evaluated"
    factor = f", {alone / n:.1f} times as many" if n else ""
    return f"{n:,} tokens evaluated; each cell on its own: {alone:,}{factor}"


def lines(result: Matrix) -> Iterator[tuple[str, str]]:
    """Return the lines of a report, each with its kind."""
    for kind, parts in _rows(result):
        yield kind, "".join(text for text, _ in parts).rstrip()


def rich_text(result: Matrix) -> Text:
    """Return the report for a terminal."""
    from rich.text import Text

    text = Text()
    for kind, parts in _rows(result):
        for part, colour in parts:
            text.append(part, "dim" if kind == "note" else _STYLES[colour])
        text.rstrip()
        text.append("\n")
    text.rstrip()
    return text


def html_text(result: Matrix) -> str:
    """Return the report for a notebook, in the colours of its theme."""
    head, *rest = lines(result)
    colour = _COLOURS["good" if result.passed else "bad"]
    below = "".join(
        f'<div style="white-space:pre-wrap">{html.escape(line)}</div>'
        for kind, line in rest
        if kind != "table"
    )
    return (
        f'<div><strong style="color:{colour}">{html.escape(head[1])}</strong>'
        f"{_html_matrix(result)}{below}</div>"
    )


def _html_matrix(result: Matrix) -> str:
    heads = [_short(column.label, _LABEL) for column in columns(result)]
    rows, n_left_out = _cases(result)
    table = html_table(
        [[_short(case, _LABEL), *map(_html_field, cells)] for case, cells in rows],
        ["", *heads],
        styles=[LEFT] * (1 + len(heads)),
        named_rows=True,
    )
    left_out = f"<div>{html.escape(_left_out(n_left_out))}</div>" if n_left_out else ""
    return f"{table}{left_out}"


def _html_field(cell: SuiteCell | None) -> str:
    kind, text = kind_of(cell), verdict(cell)
    if kind == "good":
        return text
    weight = ";font-weight:bold" if kind == "bad" else ""
    return Styled(text, f"{LEFT}{weight};color:{_COLOURS[kind]}")


def _rows(result: Matrix) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The lines of a report: the kind of each, and its parts with their colours."""
    colour = "good" if result.passed else "bad"
    word = "passed" if result.passed else "FAILED"
    name = shown(result.name, _LABEL)
    yield "head", [(f"suite {name}: {word}, {counts_in_words(result)}", colour)]
    if len(result.cases) * len(columns(result)) > 1:
        yield from (("table", row) for row in _matrix(result))
    for cell in result.failed[:_MOST_FAILURES]:
        yield "text", [(shown(cell.id, 120), "name"), (": ", ""), (verdict(cell), "bad")]
        yield from (("text", [(f"  {line}", "")]) for line in reasons(cell))
    if (n := len(result.failed) - _MOST_FAILURES) > 0:
        yield "note", [(f"and {n:,} more that failed", "none")]
    if missing := result.missing:
        more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
        yield "note", [(f"not run: {', '.join(shown(m, 60) for m in missing[:5])}{more}", "none")]
    if said := tokens_in_words(result):
        yield "note", [(said, "none")]


def reasons(cell: SuiteCell) -> list[str]:
    """Return why a cell failed: the error, or what each check that failed found."""
    if cell.error is not None:
        return [shown(cell.error, 400)]
    found = []
    for finding in cell.findings:
        if not finding.passed:
            found.append(f"{shown(finding.check, 100)}: {shown(finding.detail, 300) or 'FAILED'}")
            if said := share_in_words(finding):
                found[-1] += f" ({said})"
    return found


def share_in_words(finding: CheckResult) -> str:
    """Return which share of several answers passed, with its interval; empty for a single one."""
    if finding.n_drawn < 2:
        return ""
    low, high = finding.interval or (None, None)
    within = "" if low is None else f", interval {low:.0%} to {high:.0%}"
    return f"share {finding.share:.0%}{within}"


def _matrix(result: Matrix) -> Iterator[list[tuple[str, str]]]:
    heads = [_short(column.label, _HEAD) for column in columns(result)]
    rows, n_left_out = _cases(result)
    fields = [[(verdict(cell), kind_of(cell)) for cell in cells] for _, cells in rows]
    names = [_short(case, _LABEL) for case, _ in rows]
    first = max(map(len, names), default=0)
    widths = [
        max([len(head), *(len(row[place][0]) for row in fields)]) + 2
        for place, head in enumerate(heads)
    ]
    yield [(" " * (first + 2), ""), *_padded([(head, "none") for head in heads], widths)]
    for name, row in zip(names, fields, strict=True):
        yield [(f"{name:<{first + 2}}", "name"), *_padded(row, widths)]
    if n_left_out:
        yield [(_left_out(n_left_out), "none")]


def _padded(row: Sequence[tuple[str, str]], widths: Sequence[int]) -> list[tuple[str, str]]:
    return [(f"{text:<{width}}", colour) for (text, colour), width in zip(row, widths, strict=True)]


def _cases(result: Matrix) -> tuple[list[tuple[str, list[SuiteCell | None]]], int]:
    """The rows that are shown, and the number of those that pass everywhere and are not."""
    places = columns(result)
    rows = [
        (case, [result.find(case, column.model, column.setting) for column in places])
        for case in result.cases
    ]
    if len(rows) <= _MOST_ROWS:
        return rows, 0
    kept = [row for row in rows if not all(cell is not None and cell.passed for cell in row[1])]
    return kept, len(rows) - len(kept)


def _short(label: str, most: int) -> str:
    """A label in so many characters: what is alike begins alike, so the middle is left out."""
    text = shown(label, 4 * most)
    n_end = most // 2
    return text if len(text) <= most else f"{text[: most - 1 - n_end]}…{text[-n_end:]}"


def _left_out(n: int) -> str:
    return f"{n:,} other case{'s' * (n != 1)} passed everywhere"
