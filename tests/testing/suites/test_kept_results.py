"""Results of suites that ran: kept in a file, read, shown, and compared."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import ModelMaker
from suite_functions import Answered
from testing.suites.test_page import check_closed
from tiny_models import CHATML

from mullama_nb.testing import Case, Suite, SuiteResult, contains

SMALL: dict[str, Any] = {"n_ctx": 256, "n_threads": 1, "n_threads_batch": 1, "max_tokens": 6}


@pytest.fixture
def suite(tiny: ModelMaker) -> Suite:
    model = tiny("llama", chat_template=CHATML)
    cases = [Case("What?", [Answered()]), Case("Who?", [contains("nobody at all")])]
    greedy = SMALL | {"temperature": 0.0}
    settings = [greedy | {"name": "plain"}, greedy | {"kv_cache_type": "q8_0", "name": "q8_0"}]
    return Suite(cases, [model], settings)


def test_a_run_is_read_as_it_was(suite: Suite, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    result = suite.run(results=path)
    assert SuiteResult.read(path) == result
    assert suite.run(results=path, progress=False) == result  # nothing is run again
    halves = []
    for i, ids in enumerate((suite.cell_ids[:1], suite.cell_ids[1:])):
        halves.append(tmp_path / f"{i}.jsonl")
        suite.run(results=halves[-1], select=ids)
    joined = SuiteResult.read(*reversed(halves))
    assert [cell.id for cell in joined.cells] == [cell.id for cell in result.cells]
    assert joined.tasks == result.tasks
    assert result.compare(joined).is_identical
    for shown in (result, result.compare(joined)):
        check_closed(shown.to_html(tmp_path / "page.html").read_text(encoding="utf-8"))


def test_the_likeliest_tokens_are_kept_with_an_answer(suite: Suite) -> None:
    for cell in suite.run().cells:
        for answer in cell.answers:
            assert len(answer.tops) == len(answer.tokens) > 0
            for token, logprob, top in zip(
                answer.tokens, answer.logprobs, answer.tops, strict=True
            ):
                assert top[0][0] == token  # at temperature 0
                assert top[0][1] == pytest.approx(logprob, abs=1e-4)


def test_another_answer_is_told_from_a_near_tie_by_what_was_measured(suite: Suite) -> None:
    before = suite.run()
    cell = before.cells[0]
    (answer,) = cell.answers
    second = answer.tops[2][1][0]
    tokens = (*answer.tokens[:2], second, *answer.tokens[3:])
    after = replace(cell, answers=(replace(answer, tokens=tokens),))
    (move,) = before.compare(replace(before, cells=(after, *before.cells[1:]))).moved
    assert move.token == 2
    assert move.gap is not None
    own, other = (math.exp(value) for _, value in answer.tops[2][:2])
    assert move.gap == pytest.approx(own - other, abs=1e-6)
