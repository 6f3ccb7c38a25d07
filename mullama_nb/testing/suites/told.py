"""What is told of a cell outside its table: the lines of a failure, and the properties in JUnit."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import shown
from .cell import SuiteCell

__all__ = ["properties", "report"]

_MOST_ANSWERS = 3
_MOST_SHOWN = 400


def report(cell: SuiteCell) -> Iterator[str]:
    """Yield lines: the checks that failed, what was asked, and what was answered."""
    yield str(cell)
    if cell.question:
        yield f"asked: {shown(repr(cell.question), _MOST_SHOWN)}"
    for answer in cell.answers[:_MOST_ANSWERS]:
        yield f"answered: {shown(repr(answer.text), _MOST_SHOWN)}"
    if len(cell.answers) > _MOST_ANSWERS:
        yield f"and {len(cell.answers) - _MOST_ANSWERS} more answers"


def properties(cell: SuiteCell) -> Iterator[tuple[str, str]]:
    """Yield names and values for a JUnit file: findings, answers, tokens."""
    for finding in cell.findings:
        yield finding.check, f"{'passed' if finding.passed else 'FAILED'}: {finding.detail}"
    for answer in cell.answers[:_MOST_ANSWERS]:
        yield "answer", shown(answer.text, _MOST_SHOWN)
    yield "tokens_evaluated", str(cell.tokens_evaluated)
    yield "tokens_alone", str(cell.tokens_alone)
