"""Ctrl-C at any line of a run: it ends, and what came is kept and right."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from conftest import ModelMaker
from interrupting import count_lines, interrupt
from suite_functions import Answered, lead
from tiny_models import CHATML

from mullama_nb.testing import Case, Suite, SuiteResult

SMALL: dict[str, Any] = {"n_ctx": 256, "n_threads": 1, "n_threads_batch": 1, "max_tokens": 3}
ROUNDS = 12


def said(result: SuiteResult) -> dict[str, list[Any]]:
    return {cell.id: [cell.error, cell.tree, *cell.answers] for cell in result.cells}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "mamba"])
def test_a_run_that_is_interrupted_anywhere_goes_on(
    tiny: ModelMaker, tmp_path: Path, kind: str
) -> None:
    model = tiny(kind, chat_template=CHATML)
    cases = [Case(f"A document. Question {i}?", [Answered()], name=f"q{i}") for i in range(2)]
    suite = Suite([*cases, Case(lead, [Answered()])], [model], [SMALL])
    whole = said(suite.run())
    path = tmp_path / "results.jsonl"

    def job() -> None:
        path.unlink(missing_ok=True)
        suite.run(results=path)

    n_lines = count_lines(job)
    chance = random.Random(kind)
    for _ in range(ROUNDS):
        interrupt(job, chance.randint(1, n_lines))
        if path.exists() and path.stat().st_size:
            there = said(SuiteResult.read(path))
            assert there.items() <= whole.items()
        assert said(suite.run(results=path)) == whole
