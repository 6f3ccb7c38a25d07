"""Evaluating one cell of a suite, in this process: here, in a pool, on a cluster."""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

from blake3 import blake3

from ...engine.context import Context
from ...engine.tally import tallied
from ...history.shared_rows import KeptRows, SharedRows
from ...history.tree import Checkpoint
from ...tasks import worker
from .cell import SuiteAnswer, SuiteCell
from .checks.check import Check, Finding
from .checks.share import combined
from .leading import Led, led
from .prompts import prompt_of
from .recorded import checks_of, led_by_recording
from .task import CellTask

__all__ = ["evaluate", "failed"]

_kept: weakref.WeakKeyDictionary[Context, KeptRows] = weakref.WeakKeyDictionary()


@dataclass(slots=True)
class _Found:
    """What is known of a cell so far; an error leaves what came before it."""

    findings: dict[int, list[Finding]] = field(default_factory=dict)  # by the check's place
    answers: list[SuiteAnswer] = field(default_factory=list)
    question: str = ""
    n_prompt: int = 0
    prompt: str = ""
    n_taken: int = 0
    tree: str = ""

    def add(self, place: int, finding: Finding) -> None:
        """Note what a check found."""
        self.findings.setdefault(place, []).append(finding)


def evaluate(task: CellTask) -> SuiteCell:
    """Return the result of a task.

    What its prompt has in common with the one before, on the same model with the same parameters,
    is not evaluated again. An error within the cell becomes part of the result.

    Parameters
    ----------
    task : CellTask

    Raises
    ------
    ModelNotFoundError, ModelMismatchError
        When the model is not on this machine, or another one is under its name.
    KeyboardInterrupt
    """
    began, found, error = time.perf_counter(), _Found(), None
    with worker.lend(task.model, task.params) as context, tallied() as tallies:
        tallies.add(context.tally)
        try:
            context.clear()
            context.adapters = task.setting.adapters
            _judge(task, context, found)
        except Exception as raised:  # a check or a function may raise anything
            error = _in_words(raised)
        metadata = context.session_metadata
    results = tuple(combined(found.findings[place]) for place in sorted(found.findings))
    return SuiteCell(
        task.id,
        task.case_label,
        task.model_label,
        task.setting_label,
        passed=error is None and all(result.passed for result in results),
        error=error,
        findings=results,
        answers=tuple(found.answers),
        question=found.question,
        n_prompt=found.n_prompt,
        tokens_evaluated=tallies.n_tokens,
        tokens_alone=tallies.n_tokens + found.n_taken,
        seconds=time.perf_counter() - began,
        fingerprint=task.model.fingerprint,
        settings=metadata["settings"],
        environment=metadata["environment"],
        worker=worker.where(),
        tree=found.tree,
        digest=task.digest,
        prompt=found.prompt,
    )


def failed(task: CellTask, error: Exception) -> SuiteCell:
    """Return the result of a task that could not be run at all."""
    return SuiteCell(
        task.id,
        task.case_label,
        task.model_label,
        task.setting_label,
        passed=False,
        error=_in_words(error),
        fingerprint=task.model.fingerprint,
        digest=task.digest,
    )


def _judge(task: CellTask, context: Context, found: _Found) -> None:
    """Lead the case, and judge what comes of it."""
    prompt = prompt_of(task.case, task.setting, context.model)
    found.question = prompt.question
    kept = _kept.setdefault(context, KeptRows())

    def shared() -> SharedRows:
        return SharedRows(context, kept, task.forks, task.n_prompt)

    if task.case.kind == "recording":
        checks, runs = (
            checks_of(task.case.checks),
            iter([led_by_recording(task, context, shared())]),
        )
    else:
        checks, runs = task.case.checks, led(task, context, prompt, shared)
    for run in runs:
        try:
            _judge_run(checks, run, found)
        finally:
            found.n_taken += run.shared.n_taken


def _judge_run(checks: Sequence[Check], run: Led, found: _Found) -> None:
    """Judge one leading of a case: its question, and each of its answers."""
    found.n_prompt = run.question.stop
    found.prompt = _digest(run.question)
    found.question = run.asked or found.question
    on_answers = [(place, check) for place, check in enumerate(checks) if check.needs_answer]
    for place, check in enumerate(checks):
        if not check.needs_answer:
            run.stand_on(None)
            found.add(place, check.judge(run.subject(None)))
    run.stand_on(None)
    for turn, tops in run.answers() if on_answers or run.answer is not None else ():
        found.answers.append(run.answer_of(turn, tops))
        for place, check in on_answers:
            run.stand_on(turn)
            found.add(place, check.judge(run.subject(turn)))
    found.tree = str(run.chat.tree)


def _digest(question: Checkpoint) -> str:
    """A digest of the tokens in front of an answer: with others, it is no answer to the same."""
    tokens = [token for node in reversed([*question.lineage()]) for token in node.tokens]
    return blake3(",".join(map(str, tokens)).encode()).hexdigest(length=16)


def _in_words(error: Exception) -> str:
    text = str(error)
    kind = type(error).__name__
    return f"{kind}: {text}" if text else kind
