"""Tasks on a Dask cluster: a scheduler here, and two workers in processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import dask
import pytest
import task_functions
from distributed import Client, LocalCluster
from tasks.exploring import explore_as_here
from tasks.losing import lose_a_worker, lose_two_workers
from waiting import wait_until

from mullama_nb import ContextParams, Model
from mullama_nb.errors import ContextFullError, ParameterError, TaskError
from mullama_nb.tasks.executors import executor_for, workers_of
from mullama_nb.tasks.recipe import ModelRecipe
from mullama_nb.tasks.running import run_all
from mullama_nb.testing import make_tiny_model


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    settings = {
        "distributed.scheduler.allowed-failures": 1,  # a lost task goes elsewhere once
        "distributed.scheduler.worker-ttl": None,  # a worker of a busy machine is not a lost one
        "distributed.comm.timeouts.connect": "600s",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # without one it takes port 8787
            memory_limit=0,
            local_directory=str(tmp_path_factory.mktemp("dask")),
            silence_logs=50,
        ) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def executor(cluster: Any) -> Iterator[Executor]:
    with Client(cluster, set_as_default=False) as client:
        yield client.get_executor()


def test_its_workers_are_counted_by_host(executor: Executor) -> None:
    workers = workers_of(executor)
    assert (workers.total, workers.on_a_machine) == (2, 2)


def test_results_and_errors_come_back(executor: Executor) -> None:
    twice = [*range(10), *range(10)]  # equal ones, too
    results = dict(run_all(task_functions.square, twice, executor))
    assert results == {index: n * n for index, n in enumerate(twice)}
    ((_, error),) = run_all(task_functions.full, [1], executor)
    assert isinstance(error, ContextFullError)
    assert "in full" in str(error.__cause__)


def test_large_tasks_travel_without_advice(executor: Executor) -> None:
    """Dask warns of 10 MiB."""
    data = bytes(11 << 20)
    assert dict(run_all(len, [data], executor)) == {0: len(data)}


def test_a_function_of_a_notebook_travels_whole(executor: Executor) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec("def twice(x): return 2 * x", names)
    assert dict(run_all(names["twice"], range(3), executor)) == {0: 0, 1: 2, 2: 4}


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


@pytest.mark.slow
def test_a_killed_worker_loses_no_result_and_repeats_its_own_task(
    executor: Executor, tmp_path: Path
) -> None:
    lose_a_worker(executor, tmp_path)


@pytest.mark.slow
def test_a_task_that_kills_each_worker_is_given_up(executor: Executor, tmp_path: Path) -> None:
    lose_two_workers(executor, tmp_path)


def test_closing_a_run_leaves_nothing_behind(executor: Executor, cluster: Any) -> None:
    results = run_all(task_functions.square, range(100), executor)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert dict(run_all(task_functions.square, [3], executor)) == {0: 9}
    wait_until(lambda: {task.state for task in cluster.scheduler.tasks.values()} <= {"erred"})


def test_an_address_is_all_that_a_command_needs(cluster: Any) -> None:
    with executor_for(dask=cluster.scheduler_address) as executor:
        assert dict(run_all(task_functions.square, [3], executor)) == {0: 9}


def test_one_of_workers_and_dask_is_asked_for() -> None:
    with pytest.raises(ParameterError, match="give one"), executor_for(2, "tcp://x:1"):
        pass
    with executor_for() as executor:
        assert executor is None
    with executor_for(2) as executor:
        assert repr(executor) == "SpawnedPool(2)"


def test_a_scheduler_that_does_not_answer_is_an_error() -> None:
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "100ms"}),
        pytest.raises(TaskError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"),
        executor_for(dask="tcp://127.0.0.1:9"),
    ):
        pass


@pytest.mark.slow
def test_without_dask_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(TaskError, match=r"mullama-nb\[dask\]"), executor_for(dask="tcp://x:1"):
        pass
