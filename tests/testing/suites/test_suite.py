"""Suites: defined, selected, run, stopped and gone on with."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import ModelMaker
from suite_functions import Answered, InProcess, lead
from testing.suites.conftest import Counter
from tiny_models import CHATML, make_model

from mullama_nb import Model, SpawnedPool
from mullama_nb.errors import ModelNotFoundError, ParameterError
from mullama_nb.testing import Case, Suite, SuiteCell, SuiteResult, likelier
from mullama_nb.testing.suites import suite as module
from mullama_nb.testing.suites.evaluating import evaluate
from mullama_nb.testing.suites.task import CellTask

SMALL: dict[str, Any] = {"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1, "max_tokens": 4}


@pytest.fixture
def model(tiny: ModelMaker) -> Model:
    return tiny("llama", chat_template=CHATML)


def questions(n: int) -> list[Case]:
    return [Case(f"A document. Question {i}?", [Answered()], name=f"q{i}") for i in range(n)]


def said(result: SuiteResult) -> dict[str, tuple[str, ...]]:
    return {cell.id: tuple(answer.text for answer in cell.answers) for cell in result.cells}


# -- definition ----------------------------------------------------------------------------------


def test_ids_are_in_the_order_of_the_matrix() -> None:
    suite = Suite(
        [Case("a"), Case("b"), Case("a")],
        ["smollm2", "models/other.gguf", Path("elsewhere/other.gguf"), "o/r:f.gguf"],
        [{}, {"kv_cache_type": "q8_0"}],
    )
    assert suite.cell_ids[:8] == (
        "a[smollm2,f16]",
        "a[smollm2,q8_0]",
        "a[other,f16]",
        "a[other,q8_0]",
        "a[other (2),f16]",
        "a[other (2),q8_0]",
        "a[o/r:f.gguf,f16]",
        "a[o/r:f.gguf,q8_0]",
    )
    assert suite.cell_ids[-1] == "a (2)[o/r:f.gguf,q8_0]"
    assert len({*suite.cell_ids}) == len(suite.cell_ids) == 24
    assert repr(suite) == "Suite('suite', 3 cases, 4 models, 2 settings)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cases": []}, "a suite needs cases"),
        ({"cases": "Why?"}, "cases are a list"),
        ({"cases": ["Why?"]}, r"Why\? is none"),
        ({"models": []}, "a suite needs models"),
        ({"models": "smollm2"}, "models are a list"),
        ({"models": [3]}, "3 is none"),
        ({"settings": []}, "settings are a list"),
        ({"repeat": 0}, "repeat=0"),
        ({"name": ""}, "name must be a text"),
        ({"cases": [Case("a", name="x"), Case("b", name="x")]}, "two cases have the name 'x'"),
    ],
)
def test_what_is_wrong_is_refused_when_given(options: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"cases": [Case("a")], "models": ["smollm2"], **options}
    with pytest.raises(ParameterError, match=message):
        Suite(**given)


def test_what_cannot_run_fails_before_anything_is_evaluated(model: Model, decoded: Counter) -> None:
    suite = Suite(questions(1), [model, "no-such-model"], [SMALL])
    with pytest.raises(ModelNotFoundError, match="no-such-model"):
        suite.run()
    with pytest.raises(ParameterError, match=r"has no cell 'q1.*did you mean 'q0"):
        suite.run(select=["q1[x,default]"])
    with pytest.raises(ParameterError, match="must be a list of ids"):
        suite.run(select="q0")
    with pytest.raises(ParameterError, match="progress"):
        suite.run(progress=3)  # type: ignore[arg-type]
    assert decoded.n_tokens == 0


# -- run -----------------------------------------------------------------------------------------


def test_cells_run_model_by_model_and_setting_by_setting(tiny: ModelMaker, model: Model) -> None:
    other = tiny("llama", chat_template=CHATML, seed=1)
    settings = [SMALL, SMALL | {"kv_cache_type": "f32"}, SMALL | {"temperature": 0}]
    suite = Suite(questions(3), [model, other], settings)
    result = suite.run()
    assert [cell.id for cell in result.cells] == [*suite.cell_ids]
    assert result.passed
    # A context for each model and cache type: the document is evaluated four times.
    once = Suite(questions(3), [model], [SMALL]).run().tokens_evaluated
    n_prompt = result.cells[0].n_prompt
    assert result.tokens_evaluated < 4 * once + 2 * 3 * (4 + 2) + n_prompt


def test_the_first_example(smollm2: Model, decoded: Counter) -> None:
    del smollm2
    suite = Suite(
        cases=[Case("The capital of France is", checks=[likelier(" Paris", than=" Rome", by=1.0)])],
        models=["smollm2"],
        settings=[{}, {"kv_cache_type": "q8_0"}],
    )
    result = suite.run(executor=None)
    assert result.passed, result
    assert [cell.setting for cell in result.cells] == ["f16", "q8_0"]
    assert result.tokens_evaluated == decoded.n_tokens == result.tokens_alone


def test_a_selection_is_a_result_of_its_own(model: Model) -> None:
    suite = Suite(questions(3), [model], [SMALL, SMALL | {"seed": 5}])
    chosen = [suite.cell_ids[3], suite.cell_ids[0]]
    result = suite.run(select=chosen)
    assert [cell.id for cell in result.cells] == [suite.cell_ids[0], suite.cell_ids[3]]
    assert result.passed
    assert result.cases == ("q0", "q1")


def test_progress_is_told(model: Model) -> None:
    told: list[tuple[int, int]] = []
    Suite(questions(3), [model], [SMALL]).run(
        progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (3, 3)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


# -- stop and go on ------------------------------------------------------------------------------


def interrupting(n: int) -> Callable[[CellTask], SuiteCell]:
    """Evaluate tasks, and be interrupted in one."""
    done = 0

    def run(task: CellTask) -> SuiteCell:
        nonlocal done
        done += 1
        if done > n:
            raise KeyboardInterrupt
        return evaluate(task)

    return run


def test_an_interrupt_keeps_what_came_and_a_run_goes_on(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: Counter
) -> None:
    suite, path = Suite(questions(5), [model], [SMALL]), tmp_path / "results.jsonl"
    whole = suite.run()
    for n, there in ((2, 2), (1, 3)):
        monkeypatch.setattr(module, "evaluate", interrupting(n))
        with pytest.raises(KeyboardInterrupt):
            suite.run(results=path)
        monkeypatch.undo()
        assert len(SuiteResult.read(path).cells) == there
    result = suite.run(results=path)
    assert said(result) == said(whole)
    assert said(SuiteResult.read(path)) == said(whole)
    before = decoded.n_tokens
    assert said(suite.run(results=path)) == said(whole)
    assert decoded.n_tokens == before


def test_what_changed_is_evaluated_again(model: Model, tmp_path: Path, tiny: ModelMaker) -> None:
    path = tmp_path / "results.jsonl"

    def evaluated(suite: Suite) -> list[str]:
        ran: list[str] = []
        held = {c.id: c for c in SuiteResult.read(path).cells} if path.exists() else {}
        result = suite.run(results=path)
        ran = [c.id for c in result.cells if held.get(c.id) != c]
        assert result.passed
        return ran

    cases = questions(2)
    assert len(evaluated(Suite(cases, [model], [SMALL]))) == 2
    assert evaluated(Suite(cases, [model], [SMALL])) == []
    changed = [cases[0], Case("Another.", [Answered()], name="q1")]
    assert evaluated(Suite(changed, [model], [SMALL])) == [f"q1[{model.name},default]"]
    stricter = [Case(cases[0].said, [Answered()], name="q0", top_k=3), changed[1]]
    assert len(evaluated(Suite(stricter, [model], [SMALL]))) == 1
    assert (
        len(evaluated(Suite(stricter, [model], [SMALL | {"min_p": 0.1, "name": "default"}]))) == 2
    )
    assert len(evaluated(Suite(stricter, [model], [SMALL], repeat=2))) == 2
    other = tiny("llama", chat_template=CHATML, seed=1)
    named = Suite(stricter, [other], [SMALL])
    assert len(evaluated(named)) == 2


def test_a_cell_with_an_error_runs_again(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    suite = Suite([Case("word " * 600, [Answered()], name="full")], [model], [SMALL])
    for _ in range(2):
        assert "ContextFullError" in str(suite.run(results=path).cells[0].error)
    assert len(SuiteResult.read(path).cells) == 1


# -- elsewhere -----------------------------------------------------------------------------------


def test_tasks_are_values(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: list[CellTask] = []
    cases = [*questions(2), Case(lead, [Answered()])]

    def kept(task: CellTask) -> SuiteCell:
        tasks.append(task)
        return evaluate(pickle.loads(pickle.dumps(task)))

    monkeypatch.setattr(module, "evaluate", kept)
    result = Suite(cases, [model], [SMALL]).run()
    assert result.passed, result
    assert [pickle.loads(pickle.dumps(task)) for task in tasks] == tasks
    assert all(len(pickle.dumps(task)) < 10_000 for task in tasks)


def test_threads_give_what_this_one_gives(model: Model) -> None:
    suite = Suite(questions(6), [model], [SMALL, SMALL | {"seed": 2}])
    here = suite.run()
    with ThreadPoolExecutor(2) as executor:
        there = suite.run(executor)
    assert said(there) == said(here)
    assert there.tokens_alone == here.tokens_alone
    assert here.tokens_evaluated <= there.tokens_evaluated < there.tokens_alone


@pytest.mark.slow
def test_spawned_processes_give_what_this_one_gives(tmp_path: Path) -> None:
    path = make_model(tmp_path / "m.gguf", "llama", chat_template=CHATML)
    cases = [
        *questions(6),
        Case("In which process?", [InProcess()], name="where"),
        Case(lead, [Answered()]),
    ]
    suite = Suite(cases, [path], [SMALL])
    here = suite.run()
    with SpawnedPool(2) as pool:
        there = suite.run(pool, results=tmp_path / "r.jsonl")
    assert there.passed, there
    assert said(there) == said(here)
    where = there["where[m,default]"].findings[0].detail
    assert where.isdigit()
    assert int(where) != os.getpid()
    assert {cell.worker for cell in here.cells} == {"this process"}
    assert all("process" in cell.worker for cell in there.cells)
    assert said(SuiteResult.read(tmp_path / "r.jsonl")) == said(here)
