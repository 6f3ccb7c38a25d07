"""What a field of the matrix opens: findings, answers, where they part, and the trees."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass

from ....engine.differences import differences
from ..cell import CheckResult, SuiteAnswer, SuiteCell
from ..comparing import MovedAnswer, asked_the_same, matched, parting
from ..table import share_in_words, verdict
from .strip import around, escaped, strip

__all__ = ["Field", "panel"]

_MOST_ANSWERS = 12


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the matrix.

    Attributes
    ----------
    anchor : str
        The id of its panel.
    cell : SuiteCell
    column : str
        What its column is called.
    word : str
        What stands in the field.
    kind : str
        ``"good"``, ``"bad"``, ``"warn"``, or empty.
    other : SuiteCell or None
        What it is compared with: the first of its model in the row, or what it was before.
    sides : tuple of (str, str)
        What the other one and this one are called.
    """

    anchor: str
    cell: SuiteCell
    column: str
    word: str
    kind: str
    other: SuiteCell | None
    sides: tuple[str, str]

    @property
    def mark(self) -> str:
        """A sign beside the word, for those who do not see colours."""
        return {"good": "✓", "bad": "✗", "warn": "≠"}.get(self.kind, "≈")


def panel(field: Field) -> str:
    """Return the panel of a field."""
    cell = field.cell
    fails = "" if cell.passed else " fails"
    colour = "good" if cell.passed else "bad"
    parts = [
        f'<h2><span>{escaped(cell.case)}</span> <span class="note">{escaped(field.column)}</span> '
        f'<span class="{colour}">{html.escape(verdict(cell))}</span></h2>',
        f'<p class="bad">{escaped(cell.error)}</p>' if cell.error is not None else "",
        _findings("Findings", cell),
        _other_findings(field),
        f'<h3>Question</h3><div class="question">{escaped(cell.question)}</div>'
        if cell.question
        else "",
        *_answers(field),
        _trees(field),
        f'<div class="note facts">{"".join(_facts(field))}</div>',
    ]
    return (
        f'<div class="fold{fails}" id="{field.anchor}" hidden="until-found">'
        f'<div class="panel" role="region" aria-label="{escaped(cell.id)}">{"".join(parts)}</div>'
        "</div>"
    )


def _findings(title: str, cell: SuiteCell) -> str:
    if not cell.findings:
        return ""
    items = "".join(map(_finding, cell.findings))
    return f'<h3>{html.escape(title)}</h3><ul class="findings">{items}</ul>'


def _finding(finding: CheckResult) -> str:
    mark, colour = ("✓", "good") if finding.passed else ("✗", "bad")
    word = "passed" if finding.passed else "FAILED"
    share = share_in_words(finding)
    said = "; ".join(filter(None, [finding.detail, share]))
    return (
        f'<li><span class="{colour}">{mark} {word}</span> <code>{escaped(finding.check)}</code> '
        f"{escaped(said)}</li>"
    )


def _other_findings(field: Field) -> str:
    """What the checks found before, where a comparison is shown and they found something else."""
    other = field.other
    if field.sides[1] != "after" or other is None or other.findings == field.cell.findings:
        return ""
    if other.error is not None:
        return f'<h3>Findings before</h3><p class="bad">{escaped(other.error)}</p>'
    return _findings("Findings before", other)


def _answers(field: Field) -> Iterator[str]:
    cell, other = field.cell, field.other
    partners = {} if other is None else {n: old for n, old, _ in matched(other, cell)}
    for draw, answer in enumerate(cell.answers[:_MOST_ANSWERS]):
        old = partners.get(draw)
        is_same = other is not None and asked_the_same(other, cell)
        move = None if old is None else parting(old, answer, draw=draw, is_same_question=is_same)
        many = f" {draw + 1} of {len(cell.answers):,}" if len(cell.answers) > 1 else ""
        yield f"<h3>Answer{many} ({escaped(_how(answer))})</h3>{strip(answer, move)}"
        if old is not None:
            yield _parting(field, old, answer, move)
    if (n := len(cell.answers) - _MOST_ANSWERS) > 0:
        yield f'<p class="note">and {n:,} more answers</p>'


def _how(answer: SuiteAnswer) -> str:
    n = len(answer.tokens)
    drawn = "likeliest tokens" if answer.seed is None else f"seed {answer.seed}"
    if answer.sibling:
        drawn += f", draw {answer.sibling}"
    return f"{n:,} token{'s' * (n != 1)}, {drawn}, ended by {answer.finish_reason or 'nothing'}"


def _parting(field: Field, old: SuiteAnswer, new: SuiteAnswer, move: MovedAnswer | None) -> str:
    there, here = map(escaped, field.sides)
    if move is None:
        return f'<p class="note">the same tokens as {_said(field.sides[0])}</p>'
    kind = "warn" if move.is_near_tie else "bad" if move.gap is not None else "note"
    return (
        f'<h3>Parts from {_said(field.sides[0])} at token {move.token}</h3><div class="sides">'
        f'<div class="note">{there}{_drawn(move.probability_before)}{around(old, move)}</div>'
        f'<div class="note">{here}{_drawn(move.probability_after)}{around(new, move)}</div></div>'
        f'<p class="{kind}">{html.escape(move.kind)}</p>'
    )


def _said(side: str) -> str:
    return side if side == "before" else f"“{escaped(side)}”"


def _drawn(probability: float | None) -> str:
    return "" if probability is None else f", drawn with probability {probability:.3f}"


def _trees(field: Field) -> str:
    there, here = map(escaped, field.sides)
    own = field.cell.tree
    old = "" if field.other is None else field.other.tree
    if not (own or old):
        return ""
    both = [f"<div><pre>{escaped(own)}</pre></div>"] if own else []
    if old:
        both = [f'<div class="note">{there}<pre>{escaped(old)}</pre></div>']
        both.append(f'<div class="note">{here}<pre>{escaped(own)}</pre></div>')
    title = "Trees" if old else "Tree"
    return f'<h3>{title}</h3><div class="sides">{"".join(both)}</div>'


def _facts(field: Field) -> Iterator[str]:
    cell, other = field.cell, field.other
    said = []
    sides = field.sides if field.sides[1] == "after" else (f"with “{field.sides[0]}”", "here")
    if other is not None and other.settings and cell.settings:
        said += differences(other.settings, cell.settings, sides)
    if other is not None and other.environment and cell.environment:
        said += differences(other.environment, cell.environment, sides)
    counts = f"{cell.n_prompt:,} tokens in front of the answer; {cell.tokens_evaluated:,} evaluated"
    if cell.tokens_alone > cell.tokens_evaluated:
        counts += f", on its own {cell.tokens_alone:,}"
    said.append(f"{counts}; {cell.seconds:.1f} s in {cell.worker}")
    if cell.fingerprint:
        said.append(f"weights {cell.fingerprint[:16]}")
    yield from (f"<div>{escaped(line)}</div>" for line in said)
