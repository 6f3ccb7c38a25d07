"""Running tasks: results as they come, errors that end nothing, tasks that are cancelled."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import task_functions
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb import Chat, Context, ContextParams, Model
from mullama_nb.engine.threads.lock import CancelToken
from mullama_nb.errors import (
    ContextFullError,
    CopyError,
    ModelNotFoundError,
    ParameterError,
    RegressionError,
    TaskError,
)
from mullama_nb.tasks import worker
from mullama_nb.tasks.recipe import ModelRecipe
from mullama_nb.tasks.running import run_all
from mullama_nb.testing import make_tiny_model


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(params=["here", "threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Executor | None:
    if request.param == "here":
        return None
    made: Executor = request.getfixturevalue(request.param)
    return made


def test_each_task_comes_back_once(executor: Executor | None) -> None:
    results = [*run_all(task_functions.square, iter(range(20)), executor)]
    assert dict(results) == {n: n * n for n in range(20)}
    assert len(results) == 20
    if executor is None:
        assert [index for index, _ in results] == [*range(20)]


@pytest.mark.parametrize(
    "error", [ValueError("a value"), ModelNotFoundError("no model"), RegressionError("a\nb")]
)
def test_an_error_of_a_task_comes_back_and_ends_nothing(
    executor: Executor | None, error: Exception
) -> None:
    results = dict(run_all(task_functions.fail, [error, error], executor))
    assert [(type(e), str(e)) for e in results.values()] == [(type(error), str(error))] * 2


def test_an_error_with_keywords_comes_back(executor: Executor | None) -> None:
    ((_, error),) = run_all(task_functions.full, [1], executor)
    assert isinstance(error, ContextFullError)
    assert (error.needed, error.free, str(error)) == (2, 1, "no room")


def test_an_error_from_elsewhere_has_its_traceback_as_the_cause(processes: Executor) -> None:
    ((_, error),) = run_all(task_functions.full, [1], processes)
    assert isinstance(error, Exception)
    assert "in full" in str(error.__cause__)


def test_what_cannot_be_sent_is_the_error_of_its_task(processes: Executor, tmp_path: Path) -> None:
    chat = Chat(Model.load(make_tiny_model(tmp_path / "m.gguf")), n_ctx=256, n_threads=1)
    tasks: list[Any] = [1, chat, threading.Lock(), 2]
    results = dict(run_all(task_functions.square, tasks, processes))
    assert (results[0], results[3]) == (1, 4)
    assert isinstance(results[1], CopyError)
    assert isinstance(results[2], TaskError)
    assert "lock" in str(results[2])


def test_a_function_that_cannot_be_sent_is_refused_at_once(processes: Executor) -> None:
    lock = threading.Lock()
    with pytest.raises(TaskError, match=r"put them into a module"):
        run_all(lambda _: lock, [1], processes)


def test_a_lazy_supply_is_taken_only_a_little_ahead(threads: Executor) -> None:
    taken: list[int] = []

    def supply() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    results = run_all(task_functions.square, supply(), threads)
    next(results)
    assert len(taken) <= 5
    results.close()
    assert len(taken) <= 5


def test_closing_cancels_what_has_not_begun() -> None:
    begun, may_end = [], threading.Event()

    def wait(task: int) -> None:
        begun.append(task)
        if task:
            may_end.wait()

    with ThreadPoolExecutor(1) as pool:
        results = run_all(wait, range(50), pool)
        assert next(results) == (0, None)
        results.close()
        may_end.set()
    assert len(begun) <= 2


def test_a_token_ends_it_while_it_waits() -> None:
    begun, may_end, cancel = [], threading.Event(), CancelToken()

    def wait(task: int) -> int:
        begun.append(task)
        if task:
            cancel.cancel()  # on another thread than the one that waits for this
            may_end.wait()
        return task

    with ThreadPoolExecutor(1) as pool:
        assert [*run_all(wait, range(50), pool, cancel=cancel)] == [(0, 0)]
        may_end.set()
    assert begun == [0, 1]
    assert [*run_all(wait, range(50), cancel=cancel)] == []
    cancel.cancel()  # nothing listens any more


def test_what_has_come_when_a_token_ends_it_is_not_lost() -> None:
    cancel, are_done = CancelToken(), threading.Barrier(2)

    def meet(task: int) -> int:
        are_done.wait()  # both end at about the same time
        return task

    with ThreadPoolExecutor(2) as pool:
        found = []
        for index, _ in run_all(meet, range(2), pool, cancel=cancel):
            pool.shutdown()  # the other has ended as well
            cancel.cancel()
            found.append(index)
    assert sorted(found) == [0, 1]


def test_a_worker_loads_once_and_shares_the_machine(processes: Executor, tmp_path: Path) -> None:
    recipe = ModelRecipe.of(Model.load(make_tiny_model(tmp_path / "m.gguf")))
    tasks = [(recipe, ContextParams(n_ctx=256), (5, 6, 7, *range(n))) for n in range(8, 16)]
    looked = dict(run_all(task_functions.look, tasks, processes))
    seen: set[int] = set()
    for each in looked.values():
        assert isinstance(each, task_functions.Looked)
        assert each.loads == 1
        assert each.threads == max(1, ContextParams().threads[0] // 2)
        assert str(each.process) in each.where
        assert bool(each.held) == (each.process in seen)  # results come in a worker's order
        seen.add(each.process)


@given(n_tasks=st.integers(0, 12), failing=st.sets(st.integers(0, 11)), n_workers=st.integers(1, 4))
def test_whatever_fails_each_task_has_its_outcome(
    n_tasks: int, failing: set[int], n_workers: int
) -> None:
    def run(task: int) -> int:
        if task in failing:
            raise ValueError(task)
        return task

    with ThreadPoolExecutor(n_workers) as pool:
        results = dict(run_all(run, range(n_tasks), pool))
    assert [*map(str, results.values())] == [*map(str, results)]
    assert {i for i, r in results.items() if isinstance(r, ValueError)} == failing & {*results}
    assert {*results} == {*range(n_tasks)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_forks_are_refused_in_words() -> None:
    """It is what a pool makes by default where Python is older than 3.14."""
    fork = multiprocessing.get_context("fork")
    with (
        ProcessPoolExecutor(1, mp_context=fork) as pool,
        pytest.raises(ParameterError, match=r"forks.*get_context\('spawn'\).*SpawnedPool"),
    ):
        run_all(task_functions.square, [1], pool)


def test_what_is_no_executor_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"executor=4: give an Executor"):
        run_all(task_functions.square, [1], 4)  # type: ignore[arg-type]


def test_a_task_that_exits_ends_nothing_else(processes: Executor) -> None:
    ((_, error),) = run_all(sys.exit, ["enough"], processes)
    assert isinstance(error, TaskError)
    assert str(error) == "SystemExit: enough"


def test_threads_let_go_of_what_they_loaded(tmp_path: Path) -> None:
    recipe = ModelRecipe.of(Model.load(make_tiny_model(tmp_path / "m.gguf")))
    contexts: list[weakref.ref[Context]] = []

    def use(_: int) -> None:
        with worker.lend(recipe, ContextParams(n_ctx=256)) as context:
            context.evaluate([5])
            contexts.append(weakref.ref(context))

    with ThreadPoolExecutor(2) as pool:
        assert [error for _, error in run_all(use, range(4), pool)] == [None] * 4
    gc.collect()
    assert [context() for context in contexts] == [None] * 4
    assert recipe not in worker._models


def test_the_number_of_workers_is_checked(threads: Executor) -> None:
    with pytest.raises(ParameterError, match="n_workers"):
        run_all(task_functions.square, [1], threads, n_workers=0)


@pytest.mark.slow
def test_a_process_that_dies_breaks_its_pool_in_words(tmp_path: Path) -> None:
    tasks = [(tmp_path, n, frozenset({2})) for n in range(9)]
    done: dict[int, object] = {}
    spawn = multiprocessing.get_context("spawn")
    words = "ProcessPoolExecutor ends as a whole.*SpawnedPool"
    with ProcessPoolExecutor(1, mp_context=spawn) as pool, pytest.raises(TaskError, match=words):
        done.update(run_all(task_functions.die, tasks, pool))
    assert done == {0: 0, 1: 1}
