"""Tasks on ipyparallel's engines: a controller here, and two engines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import ipyparallel
import pytest
import task_functions
from tasks.exploring import explore_as_here
from tasks.losing import lose_a_worker

from mullama_nb import ContextParams, Model
from mullama_nb.errors import ContextFullError, TaskError
from mullama_nb.tasks.executors import workers_of
from mullama_nb.tasks.recipe import ModelRecipe
from mullama_nb.tasks.running import run_all
from mullama_nb.testing import make_tiny_model

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("ipython")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent), str(TESTS)]))
        with ipyparallel.Cluster(
            n=2, profile_dir=str(folder / "profile"), log_level=50, engine_timeout=600
        ) as made:
            yield made


@pytest.fixture
def executor(client: Any) -> Executor:
    made: Executor = client.executor()
    return made


def test_its_engines_are_counted_by_machine(executor: Executor, client: Any) -> None:
    for each in (executor, client.load_balanced_view().executor):
        workers = workers_of(each)
        assert (workers.total, workers.on_a_machine) == (2, 2)


def test_results_and_errors_come_back(executor: Executor) -> None:
    results = dict(run_all(task_functions.square, range(20), executor))
    assert results == {n: n * n for n in range(20)}
    ((_, error),) = run_all(task_functions.full, [1], executor)
    assert isinstance(error, ContextFullError)
    assert "in full" in str(error.__cause__)


def test_a_worker_loads_once_and_shares_the_machine(executor: Executor, tmp_path: Path) -> None:
    recipe = ModelRecipe.of(Model.load(make_tiny_model(tmp_path / "m.gguf")))
    tasks = [(recipe, ContextParams(n_ctx=256), (5, 6, 7, *range(n))) for n in range(8, 16)]
    looked = dict(run_all(task_functions.look, tasks, executor))
    for each in looked.values():
        assert isinstance(each, task_functions.Looked)
        assert each.loads == 1
        assert each.threads == max(1, ContextParams().threads[0] // 2)
    assert 1 <= sum(not each.held for each in looked.values()) <= 2  # type: ignore[union-attr]


def test_answers_are_those_made_here(executor: Executor, tmp_path: Path) -> None:
    explore_as_here(executor, tmp_path)


def test_closing_a_run_leaves_the_engines_to_others(executor: Executor) -> None:
    results = run_all(task_functions.square, range(100), executor)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert dict(run_all(task_functions.square, [3], executor)) == {0: 9}


@pytest.mark.slow
def test_a_killed_engine_loses_no_result_and_its_task_is_repeated_elsewhere(
    executor: Executor, tmp_path: Path
) -> None:
    lose_a_worker(executor, tmp_path)


@pytest.mark.slow
def test_without_any_engine_nothing_hangs(executor: Executor, tmp_path: Path) -> None:
    """Nobody starts another one: the last test took one, and this one takes what is left."""
    tasks = [(tmp_path / "end", n, frozenset({1})) for n in range(3)]
    (tmp_path / "end").mkdir()
    results: dict[int, object] = {}
    with pytest.raises(TaskError, match=r"takes no more tasks|no worker .* is left"):
        results.update(run_all(task_functions.die, tasks, executor))
    assert results == {0: 0}
