"""The page: a matrix of fields, each with its panel, in one file that asks nothing of a network."""

from __future__ import annotations

import base64
import hashlib
import html
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....engine.differences import differences
from ....state.atomic import write_atomically
from .. import comparison_text
from ..cell import SuiteCell
from ..comparing import Changes
from ..matrix import Matrix
from ..table import columns, counts_in_words, kind_of, tokens_in_words, verdict
from .panel import Field, panel
from .strip import escaped, legend

__all__ = ["comparison_page", "result_page", "write_comparison", "write_result"]

_MOST_PANELS = 2_000  # of more fields, those open that fail or have another answer

# Without scripts every panel is shown.
_PLAIN_STYLE = ".fold[hidden]{display:block;content-visibility:visible}"


def write_result(result: Matrix, path: str | os.PathLike[str]) -> Path:
    """Write the page of a result, readable by its owner only; see ``SuiteResult.to_html``."""
    return _write(result_page(result), path)


def write_comparison(comparison: Changes, path: str | os.PathLike[str]) -> Path:
    """Write the page of a comparison, readable by its owner only."""
    return _write(comparison_page(comparison), path)


def _write(page: str, path: str | os.PathLike[str]) -> Path:
    write_atomically(Path(path), [page.encode("utf-8", "replace")])
    return Path(path)


def result_page(result: Matrix) -> str:
    """Return the page of a result, the same for equal results."""
    title = f"{result.name}: {counts_in_words(result)}"
    kind = "good" if result.passed else "bad"
    word = "passed" if result.passed else "FAILED"
    head = [
        f"<h1>{escaped(result.name)}</h1>",
        f'<p class="verdict {kind}">{word}: {counts_in_words(result)}</p>',
        f'<p class="note">{tokens_in_words(result)}</p>',
    ]
    rows = [*_rows_of_result(result)]
    head.append(_filter(rows, "did not pass"))
    return _document(title, head, result, rows)


def comparison_page(comparison: Changes) -> str:
    """Return the page of a comparison, the same for equal results."""
    after = comparison.after
    (_, first), *rest = comparison_text.lines(comparison)
    kind = "good" if comparison.passed else "bad"
    notes = [*comparison.settings, *comparison.environment]
    notes += [line for what, line in rest if what == "note" and line not in notes]
    head = [
        f"<h1>{escaped(after.name)}: what changed</h1>",
        f'<p class="verdict {kind}">{escaped(first.partition(": ")[2])}</p>',
        *(f'<p class="note">{escaped(line)}</p>' for line in notes),
    ]
    rows = [*_rows_of_comparison(comparison)]
    head.append(_filter(rows, "fail or have other answers"))
    return _document(f"{after.name}: what changed", head, after, rows)


@dataclass(frozen=True, slots=True)
class _Row:
    """A case: its name, and a field for each column, or what stands there instead."""

    case: str
    fields: tuple[Field | str, ...]

    @property
    def fails(self) -> bool:
        """Whether there is something to look at."""
        return any(isinstance(f, str) or f.kind in ("bad", "warn") for f in self.fields)


def _rows_of_result(result: Matrix) -> Iterator[_Row]:
    places, n = columns(result), 0
    for case in result.cases:
        fields: list[Field | str] = []
        firsts: dict[str, tuple[str, SuiteCell]] = {}  # by model: tokens of others are others
        for column in places:
            n += 1
            cell = result.find(case, column.model, column.setting)
            if cell is None:
                fields.append("not run")
                continue
            label, other = firsts.get(column.model, (column.label, None))
            sides, kind = (label, column.label), kind_of(cell)
            fields.append(Field(f"f{n}", cell, column.label, verdict(cell), kind, other, sides))
            firsts.setdefault(column.model, (column.label, cell))
        yield _Row(case, tuple(fields))


def _rows_of_comparison(comparison: Changes) -> Iterator[_Row]:
    after, n = comparison.after, 0
    moved = {move.id: move for move in reversed(comparison.moved)}
    near = {id_ for id_ in moved if all(m.is_near_tie for m in comparison.moved if m.id == id_)}
    for case in after.cases:
        fields: list[Field | str] = []
        for column in columns(after):
            n += 1
            cell = after.find(case, column.model, column.setting)
            if cell is None:
                fields.append("not run")
                continue
            before = comparison.before_of(cell)
            word, kind = _change(cell, before, is_moved=cell.id in moved, is_near=cell.id in near)
            sides = ("before", "after")
            fields.append(Field(f"f{n}", cell, column.label, word, kind, before, sides))
        yield _Row(case, tuple(fields))


def _change(
    cell: SuiteCell, before: SuiteCell | None, *, is_moved: bool, is_near: bool
) -> tuple[str, str]:
    if before is None:
        return (f"new: {verdict(cell)}", kind_of(cell))
    if not cell.passed:
        return ("new failure" if before.passed else "still failing", "bad")
    if not before.passed:
        return ("fixed", "good")
    if is_moved:
        return ("near-tie", "") if is_near else ("other answer", "warn")
    return ("same", "good")


def _filter(rows: Sequence[_Row], which: str) -> str:
    n = sum(row.fails for row in rows)
    if not 0 < n < len(rows):
        return ""
    return (
        '<label class="filter"><input type="checkbox" id="only"> '
        f"only cases that {which} ({n:,} of {len(rows):,})</label>"
    )


def _document(title: str, head: Sequence[str], result: Matrix, rows: Sequence[_Row]) -> str:
    style, script = (_own(name) for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; style-src {_hash(style)} {_hash(_PLAIN_STYLE)}; "
        f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    heads = "".join(f'<th scope="col">{escaped(c.label)}</th>' for c in columns(result))
    opening = _opening(rows)
    body = "".join(_row(row, opening) for row in rows)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escaped(title)}</title>\n<style>{style}</style>\n"
        f"<noscript><style>{_PLAIN_STYLE}</style></noscript>\n</head>\n<body>\n"
        f"<header>{''.join(head)}</header>\n"
        f'<main><table class="matrix"><thead><tr><th scope="col">case</th>{heads}</tr></thead>\n'
        f"{body}</table></main>\n{_foot(result)}\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _opening(rows: Sequence[_Row]) -> frozenset[str]:
    """The anchors of the fields that open."""
    fields = [field for row in rows for field in row.fields if isinstance(field, Field)]
    if len(fields) > _MOST_PANELS:
        fields = [field for field in fields if field.kind in ("bad", "warn")][:_MOST_PANELS]
    return frozenset(field.anchor for field in fields)


def _own(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _row(row: _Row, opening: frozenset[str]) -> str:
    fields = "".join(_field(field, opening) for field in row.fields)
    panels = "".join(
        panel(field) for field in row.fields if isinstance(field, Field) and field.anchor in opening
    )
    fails = ' class="fails"' if row.fails else ""
    n = len(row.fields) + 1
    return (
        f'<tbody{fails}><tr><th scope="row">{escaped(row.case)}</th>{fields}</tr>\n'
        f'<tr class="panels"><td colspan="{n}"><div class="room">{panels}</div></td></tr></tbody>\n'
    )


def _field(field: Field | str, opening: frozenset[str]) -> str:
    if isinstance(field, str):
        return f'<td class="field"><span>· {field}</span></td>'
    said = f'<span class="{field.kind}">{field.mark}</span> {html.escape(field.word)}'
    if field.anchor not in opening:
        return f'<td class="field"><span>{said}</span></td>'
    kind = f' class="{field.kind}"' if field.kind in ("bad", "warn") else ""
    return f'<td class="field"><a href="#{field.anchor}"{kind}>{said}</a></td>'


def _foot(result: Matrix) -> str:
    """Where it was made: what all cells have in common, and how many machines there were."""
    found: list[str] = []
    measured = [cell for cell in result.cells if cell.environment]
    if measured:
        first = measured[0].environment
        others = [c for c in measured if differences(first, c.environment)]
        found += [f"{key}: {_plain(value)}" for key, value in sorted(first.items())]
        if others:
            found.append(f"{len(others):,} of {len(measured):,} cells were made elsewhere")
    facts = "".join(f"<div>{escaped(line)}</div>" for line in found)
    return f'<footer><div class="legend">{legend()}</div>{facts}</footer>'


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
