"""Suites: what a shared prompt saves, what a second worker brings, what a task costs beside it.

Forty cases on one long prompt, as one suite, take turns with forty suites of one case each, which
evaluate the prompt anew. Each answers in a few tokens and is judged by its words and by how likely
one of them was. The target is a fifth of the time.

A suite on two spawned workers with one thread each takes turns with the same suite on one such
worker. Both have loaded the model before, and hold contexts of earlier rounds: what is compared is
the work, and nothing decodes in this process. The target is 1.6 times the speed, on two CPUs.

A task through Dask, with nothing else under way, may cost 50 ms.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from mullama_nb import Model
from mullama_nb.tasks.pool import SpawnedPool
from mullama_nb.testing import Case, Suite, at_least, matches

from . import overhead
from .bare import prompt_text
from .costs import model_file
from .pairing import Stopwatch, hosted, race
from .report import Effort, Row, Table, compared

__all__ = ["run"]

_CASES = 40
_PROMPT_TOKENS = 1024
_SHORT_PROMPT = 64
_ANSWER, _LONG_ANSWER = 4, 32
_ROUNDS = 3  # they take minutes, and vary little
_TOGETHER = 5.0
_TWO_WORKERS = 1.6
_SECONDS_A_TASK = 0.05


def _suites(
    path: Path, n_cases: int, n_prompt: int, n_answer: int, **setting: Any
) -> tuple[Suite, list[Suite]]:
    """A suite, and each of its cases as one."""
    model = Model.load(path)
    system = prompt_text(model, n_prompt)
    settings = [{"system": system, "n_ctx": n_prompt + 384, "temperature": 0, **setting}]
    cases = [
        Case(
            f"Of ship number {number}, what is in the book?",
            [at_least(" The", 0), matches(r"\A")],
            name=f"case {number}",
            max_tokens=n_answer,
        )
        for number in range(n_cases)
    ]
    return Suite(cases, [path], settings), [Suite([case], [path], settings) for case in cases]


def _seconds(suites: Sequence[Suite], executor: Executor | None = None) -> float:
    with Stopwatch() as watch:
        results = [suite.run(executor, progress=False) for suite in suites]
    for result in results:
        result.check()
    return watch.seconds


class _Cases:
    def __init__(self, path: Path, n_cases: int, n_prompt: int) -> None:
        self.together, self.alone = _suites(path, n_cases, n_prompt, _ANSWER)

    def as_a_suite(self) -> float:
        return _seconds([self.together])

    def each_alone(self) -> float:
        return _seconds(self.alone)


def _shared(path: Path, effort: Effort) -> Table:
    n_cases, n_prompt = max(2, effort.scaled(_CASES)), effort.shortened(_PROMPT_TOKENS)
    table = Table(
        f"{n_cases} cases on one prompt of {n_prompt:,} tokens, milliseconds",
        f"SmolLM2-135M Q4_1, answers of {_ANSWER} tokens",
    )
    with hosted(_Cases, path, n_cases, n_prompt) as cases:
        result = race(
            {"as a suite": cases.way("as_a_suite"), "each alone": cases.way("each_alone")},
            min(_ROUNDS, effort.rounds),
        )
    table.add(compared(result, "cases", "as a suite", "each alone", target=_TOGETHER))
    return table


def _workers(path: Path, effort: Effort) -> Table:
    n_cases, n_answer = max(2, effort.scaled(_CASES)), effort.shortened(_LONG_ANSWER)
    table = Table(
        f"{n_cases} cases on spawned workers with one thread each, milliseconds",
        f"SmolLM2-135M Q4_1, answers of {n_answer} tokens",
    )
    suite, _ = _suites(path, n_cases, _SHORT_PROMPT, n_answer, n_threads=1)
    with SpawnedPool(2) as two, SpawnedPool(1) as one:
        result = race(
            {
                "two workers": lambda: _seconds([suite], two),
                "one worker": lambda: _seconds([suite], one),
            },
            min(_ROUNDS, effort.rounds),
        )
    table.add(compared(result, "suite", "two workers", "one worker", target=_TWO_WORKERS))
    return table


def _tasks(effort: Effort) -> Table:
    table = Table("A task beside its work", "Two workers on this machine, tasks that do nothing")
    for name, make in overhead.EXECUTORS.items():
        with make() as executor:
            found = overhead.measure(executor, effort)
        target = ""
        if name == "Dask":
            verdict = "reached" if found.alone < _SECONDS_A_TASK else "MISSED"
            target = f"{1e3 * _SECONDS_A_TASK:.0f} ms {verdict}"
        cells = {
            "through": name,
            "alone": f"{1e3 * found.alone:.1f} ms",
            "among many": f"{1e3 * found.together:.2f} ms",
            "target": target,
        }
        table.add(Row(cells, {"through": name, "alone": found.alone, "together": found.together}))
    return table


def run(effort: Effort) -> Sequence[Table]:
    """Measure all cases."""
    with tempfile.TemporaryDirectory() as folder:
        path = model_file(effort, Path(folder))
        return [_shared(path, effort), _workers(path, effort), _tasks(effort)]
