"""Comparing a replay with its recording, checkpoint by checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf

from ..engine.differences import differences
from ..errors import ParameterError
from .parting import first_difference, gap
from .reading import read
from .recording import Recording
from .report import CheckpointReport, Quality, Report
from .rule import MARGIN, TOLERANCE, Rule
from .walk import Entry, Step

__all__ = ["compare", "forced", "made_report", "names_of"]


def compare(
    path_a: str | os.PathLike[str],
    path_b: str | os.PathLike[str],
    level: str = "probabilities",
    *,
    margin: float = MARGIN,
    tolerance: float = TOLERANCE,
) -> Report:
    """Compare two recordings, the first being the reference; no model is needed.

    Where both have the same tokens, probabilities are compared; at the first token that differs,
    the gap between the two. What follows an answer that rounding decided is a different
    conversation, and is not compared.

    Parameters
    ----------
    path_a, path_b : str or path
    level, margin, tolerance
        As for :func:`replay`.

    Raises
    ------
    RecordingError
        When a file is damaged.
    ParameterError
        When their models have different vocabularies.
    """
    rule = Rule(level, margin, tolerance)
    a, b = read(path_a), read(path_b)
    if a.vocabulary != b.vocabulary:
        raise ParameterError(
            f"the recordings were made with {a.model!r} and {b.model!r}, which have other "
            "vocabularies, so their tokens cannot be compared"
        )
    others = {entry.id: entry for entry in b.entries}
    names = names_of(a)
    reports: list[CheckpointReport] = []
    pairs: list[tuple[Step, Step]] = []
    has_parted: set[str | None] = set()  # by rounding, so that nothing behind is comparable
    has_changed: set[str | None] = set()
    for entry in a.entries:
        other, name = others.pop(entry.id, None), names[entry.id]
        if other is None:
            reports.append(CheckpointReport(name, False, 0, entry.text, "", is_missing=True))
            has_changed.add(entry.id)
        elif entry.parent in has_parted:
            has_parted.add(entry.id)
        else:
            report, compared = _against(entry, other, rule, name)
            if entry.parent in has_changed:  # rounding is not what decided anything here
                report = replace(report, is_near_tie=False)
            if entry.parent in has_changed or not report.passed:
                has_changed.add(entry.id)
            reports.append(report)
            pairs += compared
            if report.token is not None and report.passed:
                has_parted.add(entry.id)
    new_names = names_of(b)
    reports += [
        CheckpointReport(new_names[o.id], False, 0, "", o.text, is_missing=True)
        for o in others.values()
    ]
    return made_report(a, b.settings, b.environment, rule, reports, pairs)


def names_of(recording: Recording) -> dict[str, str]:
    """Return the names of checkpoints in a report: short id, role, tags."""
    names = {entry.id: [entry.id[:7]] for entry in recording.entries}
    for entry in recording.entries:
        if role := entry.notes.get("role"):
            names[entry.id].append(str(role))
    for tag, identifier in recording.tags.items():
        names[identifier].append(f"[{tag}]")
    return {identifier: " ".join(words) for identifier, words in names.items()}


def _against(
    entry: Entry, other: Entry, rule: Rule, name: str
) -> tuple[CheckpointReport, list[tuple[Step, Step]]]:
    first = first_difference(entry.said, other.said)
    is_measured = bool(entry.steps) and bool(other.steps)
    if first is None:
        steps = other.steps if is_measured else entry.steps
        drawn = other.expected if is_measured else entry.expected
        report = forced(entry, steps, drawn, rule, name, after=other.after or entry.after)
        return report, [*zip(entry.steps, steps, strict=True)] if is_measured else []
    texts = _rest(entry, other, first)
    if not is_measured:
        return CheckpointReport(name, False, first, *texts), []
    pairs = [*zip(entry.steps[:first], other.steps[:first], strict=True)]
    gap, moved = 1.0, inf  # one of them ends without having drawn that
    if first < min(len(entry.steps), len(other.steps)):
        gap = _gap(entry, first, other.said[first], other.steps[first])
        own = dict(other.steps[first].top).get(entry.said[first], -inf)
        moved = abs(own - entry.steps[first].logprob)
    is_changed = entry.notes.get("sampling") != other.notes.get("sampling")
    largest = _largest(pairs)
    passed = not is_changed and rule.allows(gap, max(largest, moved), is_same=False)
    near = gap <= rule.margin
    return CheckpointReport(name, passed, first, *texts, gap, near, largest), pairs


def _rest(entry: Entry, other: Entry, first: int) -> tuple[str, str]:
    """Both texts from the word on that differs: nothing here knows where a token's text begins."""
    pairs = enumerate(zip(entry.text, other.text, strict=False))
    n = next((i for i, (x, y) in pairs if x != y), min(len(entry.text), len(other.text)))
    begin = entry.text.rfind(" ", 0, n) + 1 if first else 0
    return entry.text[begin:], other.text[begin:]


def forced(
    entry: Entry,
    steps: Sequence[Step],
    chosen: Sequence[int],
    rule: Rule,
    name: str,
    text: str | None = None,
    decode: Callable[[Sequence[int]], str] = str,
    after: Sequence[tuple[int, float]] = (),
) -> CheckpointReport:
    """Return the report on an entry whose tokens were forced here.

    Parameters
    ----------
    entry : Entry
    steps : sequence of Step
        What was measured here.
    chosen : sequence of int
        What was drawn here.
    rule : Rule
    name : str
    text : str, optional
        What is said here from the first token on that is drawn otherwise.
    decode : callable
        Tokens to text.
    after : sequence of (int, float)
        The likeliest tokens here behind the last one. No recorded token depends on them, so that
        only ``exact`` judges by them.
    """
    largest = _largest(zip(entry.steps, steps, strict=True))
    differing = [i for i, (a, b) in enumerate(zip(entry.expected, chosen, strict=True)) if a != b]
    gaps = {i: _gap(entry, i, chosen[i], steps[i]) for i in differing}
    is_same_after = not entry.after or tuple(entry.after) == tuple(after)
    is_same = tuple(entry.steps) == tuple(steps) and not differing and is_same_after
    passed = rule.allows(max(gaps.values(), default=None), largest, is_same=is_same)
    if not is_same_after:
        largest = max(largest, _moved(entry.after, after))
    if not differing:
        return CheckpointReport(name, passed, largest=largest)
    first = differing[0]
    return CheckpointReport(
        name,
        passed,
        first,
        decode(entry.said[first:]),
        decode(chosen[first:]) if text is None else text,
        gaps[first],
        gaps[first] <= rule.margin,
        largest,
        len(differing),
        max(gaps.values()),
    )


def _largest(pairs: Iterable[tuple[Step, Step]]) -> float:
    return max((abs(a.logprob - b.logprob) for a, b in pairs), default=0.0)


def _moved(recorded: Sequence[tuple[int, float]], here: Sequence[tuple[int, float]]) -> float:
    """How far log-probabilities moved, at the least: who is not in the list is below all in it."""
    now, most = dict(here), min((value for _, value in here), default=0.0)
    return max(abs(value - now.get(token, min(value, most))) for token, value in recorded)


def _gap(entry: Entry, index: int, other: int, here: Step) -> float:
    recorded = entry.steps[index]
    drawn = entry.expected[index], recorded.logprob
    is_likeliest = entry.notes.get("sampling", {}).get("temperature") == 0
    return gap(drawn, other, recorded.top, here.top, is_likeliest=is_likeliest)


def made_report(
    there: Recording,
    settings: Mapping[str, object],
    environment: Mapping[str, object],
    rule: Rule,
    reports: Sequence[CheckpointReport],
    pairs: Sequence[tuple[Step, Step]],
    problems: Sequence[str] = (),
) -> Report:
    """Assemble the report."""
    changed = tuple(differences(there.settings, settings))
    moved = tuple(differences(there.environment, environment))
    is_same = _alike(there.settings, settings) and _alike(there.environment, environment)
    if rule.level == "exact" and (changed or moved or not is_same):
        problems = (*problems, "exact needs the same settings, build and machine")
    return Report(
        rule.level,
        changed,
        moved,
        tuple(r for r in reports if not r.passed or r.token is not None or r.largest),
        len(there.entries),
        Quality.of(pairs),
        tuple(problems),
    )


def _alike(there: Mapping[str, object], here: Mapping[str, object]) -> bool:
    """Whether JSON has the same values: what is missing matches nothing, and 1 is not ``true``."""
    a, b = (json.dumps(values, sort_keys=True) for values in (there, here))
    return a == b
