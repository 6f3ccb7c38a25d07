"""Replaying a recording here, and comparing two of them without a model."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from math import exp
from typing import Any

from ..engine.compatibility import differences, environment, settings
from ..engine.context import Context
from ..engine.model import Model
from ..engine.params import ContextParams
from ..errors import ParameterError
from .recording import Entry, Recording, RecordingError, read
from .report import CheckpointReport, Report
from .walk import Step, walk

__all__ = ["LEVELS", "MARGIN", "TOLERANCE", "compare", "replay"]

LEVELS = ("exact", "near-ties", "probabilities")
MARGIN = 0.05
TOLERANCE = 0.5


def replay(
    path: str | os.PathLike[str],
    model: str | os.PathLike[str] | Model,
    level: str = "probabilities",
    *,
    margin: float = MARGIN,
    tolerance: float = TOLERANCE,
    **options: Any,
) -> Report:
    """Run a recording here and say what differs.

    Parameters
    ----------
    path : str or path
    model : str, path or Model
    level : {"exact", "near-ties", "probabilities"}
        The same to the bit; other tokens only where rounding decides; every recorded token about
        as likely as it was, which holds on any CPU.
    margin : float
        Of probability, between the two tokens of a near-tie.
    tolerance : float
        Of a token's log-probability.
    **options
        Fields of ``ContextParams`` that shall differ from the recorded ones.

    Raises
    ------
    RecordingError
        When the file is damaged.
    ParameterError
        When the model has another vocabulary.
    """
    _check(level, margin, tolerance)
    there = read(path)
    loaded = model if isinstance(model, Model) else Model.load(model)
    params = _params(there).with_changes(options)
    here_settings = None
    with Context(loaded, params.made) as context:
        here_settings = settings(loaded, params.made, context.n_ctx)
        found = walk(there.entries, context, with_texts=True)
    decode = lambda tokens: loaded.detokenize(tokens, special=True)  # noqa: E731
    reports = [
        _compared(
            entry,
            found.steps[entry.id],
            found.chosen.get(entry.id, entry.tokens),
            found.texts.get(entry.id),
            (level, margin, tolerance),
            decode,
        )
        for entry in there.entries
    ]
    pairs = [(entry, found.steps[entry.id]) for entry in there.entries]
    return _report(there, here_settings, environment(params.made), level, reports, pairs)


@dataclasses.dataclass(frozen=True)
class _Params:
    made: ContextParams

    def with_changes(self, options: dict[str, Any]) -> _Params:
        return _Params(ContextParams(**(dataclasses.asdict(self.made) | options)))


def _params(recording: Recording) -> _Params:
    try:
        return _Params(ContextParams(**recording.params))
    except (TypeError, ParameterError) as error:
        raise RecordingError(f"the recording's context settings cannot be right: {error}") from None


def compare(
    path_a: str | os.PathLike[str],
    path_b: str | os.PathLike[str],
    level: str = "probabilities",
    *,
    margin: float = MARGIN,
    tolerance: float = TOLERANCE,
) -> Report:
    """Compare two recordings, the first one being what should be; no model is needed."""
    _check(level, margin, tolerance)
    a, b = read(path_a), read(path_b)
    others = {entry.id: entry for entry in b.entries}
    reports: list[CheckpointReport] = []
    pairs: list[tuple[Entry, Sequence[Step]]] = []
    for entry in a.entries:
        other = others.pop(entry.id, None)
        if other is None:
            reports.append(CheckpointReport(entry.id, False, 0, entry.text, ""))
        elif other.tokens != entry.tokens:
            both = zip(entry.tokens, other.tokens, strict=False)
            shorter = min(len(entry.tokens), len(other.tokens))
            first = next((i for i, (x, y) in enumerate(both) if x != y), shorter)
            reports.append(CheckpointReport(entry.id, False, first, entry.text, other.text))
        else:
            reports.append(
                _compared(entry, other.steps, entry.tokens, None, (level, margin, tolerance), str)
            )
            pairs.append((entry, other.steps))
    reports += [CheckpointReport(o.id, False, 0, "", o.text) for o in others.values()]
    return _report(a, b.settings, b.environment, level, reports, pairs)


def _check(level: str, margin: float, tolerance: float) -> None:
    if level not in LEVELS:
        raise ParameterError(f"level={level!r} must be one of {', '.join(LEVELS)}")
    if not 0 <= margin <= 1 or not tolerance >= 0:
        raise ParameterError(f"margin={margin!r} must lie in 0 to 1, tolerance={tolerance!r} >= 0")


def _compared(
    entry: Entry,
    steps: Sequence[Step],
    chosen: Sequence[int],
    text: str | None,
    rule: tuple[str, float, float],
    decode: Callable[[Sequence[int]], str],
) -> CheckpointReport:
    level, margin, tolerance = rule
    largest = max(
        (abs(a.logprob - b.logprob) for a, b in zip(entry.steps, steps, strict=True)), default=0.0
    )
    others = [i for i, (a, b) in enumerate(zip(entry.tokens, chosen, strict=True)) if a != b]
    gaps = {i: _gap(entry, i, chosen[i], steps[i]) for i in others}
    if level == "exact":
        passed = tuple(entry.steps) == tuple(steps) and not others
    elif level == "near-ties":
        passed = all(gap <= margin for gap in gaps.values())
    else:
        passed = largest <= tolerance
    if not others:
        return CheckpointReport(entry.id, passed, largest=largest)
    first = others[0]
    return CheckpointReport(
        entry.id,
        passed,
        first,
        decode(entry.tokens[first:]),
        text if text is not None else decode(chosen[first:]),
        gaps[first],
        gaps[first] <= margin,
        largest,
    )


def _gap(entry: Entry, index: int, other: int, here: Step) -> float:
    """How far apart two tokens were; of a draw, how far any probability has moved."""
    recorded = dict(entry.steps[index].top)
    if entry.notes["sampling"].get("temperature") == 0:
        second = recorded.get(other)
        own = exp(entry.steps[index].logprob)
        return abs(own - exp(second)) if second is not None else own
    now = dict(here.top)
    return max((abs(exp(v) - exp(now.get(t, -1e9))) for t, v in recorded.items()), default=1.0)


def _report(
    there: Recording,
    here_settings: Any,
    here_environment: Any,
    level: str,
    reports: Sequence[CheckpointReport],
    pairs: Sequence[tuple[Entry, Sequence[Step]]],
) -> Report:
    moved = [
        abs(a.logprob - b.logprob)
        for entry, steps in pairs
        for a, b in zip(entry.steps, steps, strict=True)
    ]
    other = tuple(differences(there.environment, here_environment))
    changed = tuple(differences(there.settings, here_settings))
    problems = ("exact needs the same settings, build and machine",) if other or changed else ()
    return Report(
        level,
        changed,
        other,
        tuple(r for r in reports if not r.passed or r.token is not None or r.largest),
        len(there.entries),
        len(moved),
        sum(moved) / len(moved) if moved else 0.0,
        problems if level == "exact" else (),
    )
