"""What changed between two results of a suite, such as since the main branch."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

from ...cached import cached
from ...engine.differences import differences
from ...errors import shown
from ..parting import first_difference, gap
from ..rule import MARGIN
from .cell import SuiteAnswer, SuiteCell
from .matrix import Matrix

__all__ = ["Changes", "MovedAnswer", "asked_the_same", "matched", "parting"]

_SIDES = ("before", "after")
_MOST_TOKENS = 12  # shown of an answer from where it differs


@dataclass(frozen=True, slots=True)
class MovedAnswer:
    """An answer that differs from the one before.

    Attributes
    ----------
    id : str
        Of its cell; empty if it belongs to none.
    draw : int
        Which of the cell's answers.
    token : int
        Index of the first token that differs.
    before, after : str
        Both texts from there, as far as they are shown.
    probability_before, probability_after : float or None
        Of the two tokens, each where it was drawn; None where an answer ended, or it is not known.
    gap : float or None
        How much likelier the token was before than the other one; for tokens drawn at random, how
        far any probability has moved. Where nothing but the two probabilities is known, the least
        that it can be. None if that cannot be said: a limit ended one of them, or something else
        was asked.
    is_same_question : bool
        Whether the same tokens stood in front of both.
    """

    id: str
    draw: int
    token: int
    before: str
    after: str
    probability_before: float | None
    probability_after: float | None
    gap: float | None
    is_same_question: bool = True

    @property
    def is_near_tie(self) -> bool:
        """Whether the gap is within the margin, so that rounding may decide."""
        return self.gap is not None and self.gap <= MARGIN

    @property
    def kind(self) -> str:
        """What the difference is, in words."""
        if not self.is_same_question:
            return "it answers something else: other tokens stand in front of it"
        if self.gap is None:
            return "whether rounding can decide that is not known"
        kind = "a near-tie, which rounding can decide" if self.is_near_tie else "a real change"
        return f"probability gap {self.gap:.3f}: {kind}"

    def lines(self) -> Iterator[str]:
        """Return the two texts, and what the difference is, a line each."""
        sides = [(self.before, self.probability_before), (self.after, self.probability_after)]
        for side, (text, probability) in zip(_SIDES, sides, strict=True):
            p = "" if probability is None else f", drawn with probability {probability:.3f}"
            said = f"{shown(repr(text), 80)}{p}" if text else "ends"
            yield f"{side:<6} {said}"
        yield self.kind


def parting(
    before: SuiteAnswer,
    after: SuiteAnswer,
    *,
    id: str = "",  # noqa: A002 - the name of the attribute
    draw: int = 0,
    is_same_question: bool = True,
) -> MovedAnswer | None:
    """Return where an answer parts from another one; None if their tokens are the same."""
    first = first_difference(before.tokens, after.tokens)
    if first is None:
        return None
    found = None
    if is_same_question and "length" not in _reasons_of_ends(first, before, after):
        found = _gap(before, after, first)
    return MovedAnswer(
        *(id, draw, first),
        *(_from(before, first), _from(after, first)),
        *(_probability(before, first), _probability(after, first)),
        found,
        is_same_question,
    )


def _reasons_of_ends(first: int, *answers: SuiteAnswer) -> list[str]:
    return [each.finish_reason for each in answers if len(each.tokens) == first]


def _gap(before: SuiteAnswer, after: SuiteAnswer, first: int) -> float | None:
    there, here = _step(before, first), _step(after, first)
    if there is None and here is None:
        return None
    if there is None or here is None:
        # What ended one of them is not among its tokens: at the most it was as likely.
        _, logprob, _ = there or here or (0, 0.0, ())
        return exp(logprob)
    (token, logprob, top), (other, logprob_here, top_here) = there, here
    is_likeliest = before.seed is None
    if not top or not (is_likeliest or top_here):
        return _least_gap(exp(logprob), exp(logprob_here), is_likeliest=is_likeliest)
    return gap((token, logprob), other, top, top_here, is_likeliest=is_likeliest)


def _least_gap(before: float, after: float, *, is_likeliest: bool) -> float | None:
    """How far apart they were at the least, of the two probabilities alone; None if that is little.

    Of what was the likeliest, another one had at most the rest. So had, before, what was drawn
    after it.
    """
    if is_likeliest and before <= MARGIN:
        return before
    least = 2 * before - 1 if is_likeliest else before + after - 1
    return least if least > MARGIN else None


def _step(
    answer: SuiteAnswer, index: int
) -> tuple[int, float, tuple[tuple[int, float], ...]] | None:
    if index >= len(answer.tokens) or not answer.logprobs:
        return None
    top = answer.tops[index] if answer.tops else ()
    return answer.tokens[index], answer.logprobs[index], top


def _from(answer: SuiteAnswer, first: int) -> str:
    text = "".join(answer.pieces[first : first + _MOST_TOKENS])
    return text if len(answer.tokens) <= first + _MOST_TOKENS else f"{text}…"


def _probability(answer: SuiteAnswer, index: int) -> float | None:
    step = _step(answer, index)
    return None if step is None else exp(step[1])


@dataclass(frozen=True, repr=False)
class Changes:
    """What changed from one result to another, apart from how it is shown.

    See ``SuiteComparison``.
    """

    before: Matrix
    after: Matrix

    @cached
    def _pairs(self) -> dict[str, tuple[SuiteCell, SuiteCell]]:
        there = {cell.id: cell for cell in self.before.cells}
        return {c.id: (there[c.id], c) for c in self.after.cells if c.id in there}

    @property
    def passed(self) -> bool:
        """Whether nothing fails that did not fail before, and every task of the second ran."""
        return not self.new_failures and not self.after.missing

    @property
    def is_identical(self) -> bool:
        """Whether all verdicts and answers are the same, of the same cells."""
        changes = (self.new_failures, self.fixed, self.moved, self.only_before, self.only_after)
        return not any(changes)

    @cached
    def new_failures(self) -> tuple[SuiteCell, ...]:
        """Cells that fail and did not before, or were not there."""
        return tuple(c for c in self.after.failed if c.id not in self._failed_before)

    @cached
    def fixed(self) -> tuple[SuiteCell, ...]:
        """Cells that failed before, and pass."""
        return tuple(c for c in self.after.cells if c.passed and c.id in self._failed_before)

    @cached
    def still_failing(self) -> tuple[SuiteCell, ...]:
        """Cells that failed before, and fail."""
        return tuple(c for c in self.after.failed if c.id in self._failed_before)

    @cached
    def _failed_before(self) -> frozenset[str]:
        return frozenset(cell.id for cell in self.before.failed)

    @cached
    def moved(self) -> tuple[MovedAnswer, ...]:
        """Answers whose tokens differ, of the same draw."""
        found = []
        for id_, (before, after) in self._pairs.items():
            is_same = asked_the_same(before, after)
            for draw, old, answer in matched(before, after):
                move = parting(old, answer, id=id_, draw=draw, is_same_question=is_same)
                if move is not None:
                    found.append(move)
        return tuple(found)

    @property
    def only_before(self) -> tuple[str, ...]:
        """Ids of cells that are not in the second result."""
        return tuple(c.id for c in self.before.cells if c.id not in self._pairs)

    @property
    def only_after(self) -> tuple[str, ...]:
        """Ids of cells that were not in the first result."""
        return tuple(c.id for c in self.after.cells if c.id not in self._pairs)

    @cached
    def largest(self) -> float:
        """By how much the log-probability of a token moved at the most, where answers are equal."""
        moved = [0.0]
        for before, after in self._pairs.values():
            for _, old, answer in matched(before, after) if asked_the_same(before, after) else ():
                n = first_difference(old.tokens, answer.tokens)
                steps = zip(old.logprobs[:n], answer.logprobs[:n], strict=False)
                moved += [abs(a - b) for a, b in steps]
        return max(moved)

    @cached
    def settings(self) -> tuple[str, ...]:
        """Differences of settings under which both ran, in words."""
        return _in_words([(a.settings, b.settings) for a, b in self._measured])

    @cached
    def environment(self) -> tuple[str, ...]:
        """Differences of build and machine, in words."""
        return _in_words([(a.environment, b.environment) for a, b in self._measured])

    @property
    def _measured(self) -> list[tuple[SuiteCell, SuiteCell]]:
        return [(a, b) for a, b in self._pairs.values() if a.environment and b.environment]

    @cached
    def changed(self) -> tuple[str, ...]:
        """Ids of cells whose task is another: its model, case, checks or settings."""
        return tuple(id_ for id_, (a, b) in self._pairs.items() if a.digest != b.digest)

    def before_of(self, cell: SuiteCell) -> SuiteCell | None:
        """Return what a cell of the second result was in the first; None if it was not there."""
        return self._pairs[cell.id][0] if cell.id in self._pairs else None

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values, for JSON."""
        return {
            "passed": self.passed,
            "identical": self.is_identical,
            "new_failures": [cell.id for cell in self.new_failures],
            "fixed": [cell.id for cell in self.fixed],
            "still_failing": [cell.id for cell in self.still_failing],
            "moved": [
                {**dataclasses.asdict(move), "is_near_tie": move.is_near_tie} for move in self.moved
            ],
            "only_before": list(self.only_before),
            "only_after": list(self.only_after),
            "missing": list(self.after.missing),
            "changed": list(self.changed),
            "largest": self.largest,
            "settings": list(self.settings),
            "environment": list(self.environment),
        }


def asked_the_same(before: SuiteCell, after: SuiteCell) -> bool:
    """Return whether the same tokens stood in front of the answers of two cells."""
    return before.prompt == after.prompt


def matched(before: SuiteCell, after: SuiteCell) -> Iterator[tuple[int, SuiteAnswer, SuiteAnswer]]:
    """Return pairs of answers of the same draw, with its place in the second cell."""
    there = {key: answer for key, _, answer in _drawn(before)}
    for key, draw, answer in _drawn(after):
        if key in there:
            yield draw, there[key], answer


def _drawn(cell: SuiteCell) -> Iterator[tuple[tuple[int | None, int, int], int, SuiteAnswer]]:
    """Answers by how they were drawn; what was drawn twice in the same way is counted."""
    seen: Counter[tuple[int | None, int]] = Counter()
    for draw, answer in enumerate(cell.answers):
        how = answer.seed, answer.sibling
        yield (*how, seen[how]), draw, answer
        seen[how] += 1


def _in_words(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> tuple[str, ...]:
    """Each difference once, with how many cells it is of where it is not of all."""
    found = Counter(words for a, b in pairs for words in differences(a, b, _SIDES))
    return tuple(
        words if n == len(pairs) else f"{words} (in {n} of {len(pairs)} cells)"
        for words, n in found.items()
    )
