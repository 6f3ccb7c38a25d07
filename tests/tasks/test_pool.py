"""The pool of spawned processes: each is replaceable, and none outlives what it works for."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path

import nbformat
import pytest
import task_functions
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_sockets import AsyncKernelManager
from nbclient import NotebookClient
from waiting import wait_until

from mullama_nb import SpawnedPool
from mullama_nb.errors import ParameterError, TaskError, WorkerLostError
from mullama_nb.tasks.running import run_all

TESTS = Path(__file__).parents[1]
SCRIPT = Path(__file__).with_name("pool_child.py")


@pytest.fixture(scope="module")
def pool() -> Iterator[SpawnedPool]:
    with SpawnedPool(2) as made:
        yield made


def is_there(process: int) -> bool:
    """Whether a process runs, or waits for its parent to ask how it ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_results_and_errors_come_back(pool: SpawnedPool) -> None:
    assert pool.submit(task_functions.square, 3).result() == 9
    assert [*pool.map(task_functions.square, range(5))] == [0, 1, 4, 9, 16]
    with pytest.raises(ZeroDivisionError, match="division") as caught:
        pool.submit(divmod, 1, 0).result()
    assert "Traceback" in str(caught.value.__cause__)
    assert pool.submit(int, "ff", base=16).result() == 255


def test_workers_are_processes_of_their_own(pool: SpawnedPool, tmp_path: Path) -> None:
    both = [pool.submit(task_functions.meet, tmp_path, 2) for _ in range(2)]
    assert len({os.getpid(), *(future.result() for future in both)}) == 3
    assert pool.submit(task_functions.process, 0).result() in {f.result() for f in both}


def test_nothing_starts_before_a_task_comes() -> None:
    before = {*threading.enumerate()}  # of which some may end meanwhile
    with SpawnedPool(4) as pool:
        assert {*threading.enumerate()} <= before
        pool.submit(int).result()
        assert len({*threading.enumerate()} - before) == 1
    assert {*threading.enumerate()} <= before


@pytest.mark.slow
def test_a_killed_worker_loses_its_own_task_only(tmp_path: Path) -> None:
    with SpawnedPool(2) as pool:
        folders = [tmp_path / "a", tmp_path / "b"]
        for folder in folders:
            folder.mkdir()
        lost, kept = (
            pool.submit(task_functions.stay, folders[0]),
            pool.submit(task_functions.meet, folders[1], 2),
        )
        wait_until(lambda: all([*folder.iterdir()] for folder in folders))
        (killed,) = (int(path.name) for path in folders[0].iterdir())
        os.kill(killed, signal.SIGKILL)
        with pytest.raises(WorkerLostError, match=f"process {killed} was ended by SIGKILL"):
            lost.result()
        assert not kept.done()
        (folders[1] / "go").touch()
        assert kept.result() != killed
        again = [pool.submit(task_functions.meet, folders[0], 3) for _ in range(2)]
        assert killed not in {future.result() for future in again}


@pytest.mark.slow
def test_the_task_of_a_lost_worker_runs_once_more(tmp_path: Path) -> None:
    """Each process is killed by what it runs: task 3 each time, so that it is given up."""
    tasks = [(tmp_path, n, frozenset({3})) for n in range(8)]
    with SpawnedPool(2) as pool:
        results = dict(run_all(task_functions.die, tasks, pool))
    assert isinstance(results.pop(3), WorkerLostError)
    assert results == {n: n for n in range(8) if n != 3}
    begun = {int(path.name): len(path.read_text().split()) for path in tmp_path.iterdir()}
    assert begun == {n: 1 + (n == 3) for n in range(8)}


@pytest.mark.slow
@settings(max_examples=5)
@given(kills=st.lists(st.booleans(), min_size=4, max_size=12))
def test_no_kill_loses_or_repeats_what_is_done(
    kills: list[bool], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A process is killed from outside, whatever it runs, after any of the results."""
    folder = tmp_path_factory.mktemp("kills")
    results = {}
    with SpawnedPool(2) as pool:
        tasks = [(folder, n, frozenset[int]()) for n in range(len(kills))]
        for index, result in run_all(task_functions.die, tasks, pool):
            assert index not in results
            results[index] = result
            running = [*pool._shared.running.values()]
            if kills[index] and running:
                with contextlib.suppress(ProcessLookupError):  # killed before, and told of yet
                    os.kill(running[0].id, signal.SIGKILL)
    for n in range(len(kills)):  # one that was killed twice is given up
        runs = len((folder / f"{n}").read_text().split()) if (folder / f"{n}").exists() else 0
        assert runs <= 2
        assert results[n] == n or isinstance(results[n], WorkerLostError)
    assert len(results) == len(kills)


def test_a_process_that_ends_itself_says_how() -> None:
    with SpawnedPool(1) as pool:
        with pytest.raises(WorkerLostError, match=r"ended with status 3"):
            pool.submit(os._exit, 3).result()
        assert pool.submit(int).result() == 0


@pytest.mark.slow
def test_cancelling_keeps_what_has_not_begun_from_running(tmp_path: Path) -> None:
    with SpawnedPool(1) as pool:
        running = pool.submit(task_functions.stay, tmp_path)
        waiting = pool.submit(task_functions.meet, tmp_path, 0)
        wait_until(lambda: [*tmp_path.iterdir()])
        assert waiting.cancel()
        pool.abandon(running)
        with pytest.raises(WorkerLostError):
            running.result()
        assert pool.submit(int).result() == 0
        assert len([*tmp_path.iterdir()]) == 1


@pytest.mark.slow
def test_closing_a_run_ends_what_runs_and_leaves_the_pool(tmp_path: Path) -> None:
    with SpawnedPool(2) as pool:
        results = run_all(task_functions.stay_if, [(tmp_path, n) for n in range(9)], pool)
        assert next(results) == (0, 0)
        results.close()  # type: ignore[attr-defined]
        wait_until(lambda: not pool._shared.running)
        assert pool.submit(task_functions.square, 3).result() == 9
    assert len([*tmp_path.iterdir()]) <= 3


@pytest.mark.slow
def test_shutting_down_waits_for_what_was_submitted() -> None:
    pool = SpawnedPool(1)
    futures = [pool.submit(task_functions.square, n) for n in range(5)]
    pool.shutdown()
    assert [future.result(timeout=0) for future in futures] == [0, 1, 4, 9, 16]
    with pytest.raises(RuntimeError, match="takes no more tasks"):
        pool.submit(int)


@pytest.mark.slow
def test_shutting_down_may_cancel(tmp_path: Path) -> None:
    pool = SpawnedPool(1)
    running = pool.submit(task_functions.meet, tmp_path, 2)
    wait_until(lambda: [*tmp_path.iterdir()])
    waiting = pool.submit(int)
    pool.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(CancelledError):
        waiting.result()
    (tmp_path / "go").touch()
    assert running.result() > 0
    pool.shutdown()


@pytest.mark.slow
def test_an_error_ends_the_pool_with_what_it_runs(tmp_path: Path) -> None:
    futures: list[Future[None]] = []

    def use() -> None:
        with SpawnedPool(1) as pool:
            futures.append(pool.submit(task_functions.stay, tmp_path))
            wait_until(lambda: [*tmp_path.iterdir()])
            raise KeyError

    with pytest.raises(KeyError):
        use()
    assert isinstance(futures[0].exception(), WorkerLostError)
    (process,) = (int(path.name) for path in tmp_path.iterdir())
    assert not is_there(process)


@pytest.mark.slow
def test_a_pool_that_nobody_has_any_more_ends() -> None:
    pool = SpawnedPool(1)
    process = pool.submit(task_functions.process, 0).result()
    (thread,) = pool._threads
    del pool
    gc.collect()
    thread.join()
    assert not is_there(process)


def test_what_a_process_does_not_have_is_said(pool: SpawnedPool, tmp_path: Path) -> None:
    """As with a module that was made in a folder of which the process does not know."""
    (tmp_path / "made_later.py").write_text("def f(): pass\n")
    sys.path.insert(0, str(tmp_path))
    try:
        import made_later  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(tmp_path))
    pool.submit(int).result()
    with pytest.raises(TaskError, match=r"No module named 'made_later'.*importable"):
        pool.submit(made_later.f).result()


def test_a_result_that_cannot_be_sent_is_an_error(pool: SpawnedPool) -> None:
    with pytest.raises(TaskError, match=r"cannot be sent.*lock"):
        pool.submit(threading.Lock).result()


def test_large_values_travel(pool: SpawnedPool) -> None:
    data = os.urandom(1 << 20) * 8
    assert pool.submit(bytes.__add__, data, b"!").result() == data + b"!"


@pytest.mark.parametrize("n_workers", [0, -1, 1.5, "2"])
def test_the_number_of_workers_is_checked(n_workers: object) -> None:
    with pytest.raises(ParameterError, match="n_workers"):
        SpawnedPool(n_workers)  # type: ignore[arg-type]


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_script_needs_no_guard() -> None:
    with start("results", TESTS) as script:
        out, err = script.communicate()
    assert (out, err, script.returncode) == ("[(0, 0), (1, 2), (2, 4), (3, 6), (4, 8)]\n", "", 0)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    """Whatever is running: each would stay for ten minutes."""
    with start("stays", TESTS, tmp_path) as script:
        assert script.stdout is not None
        workers = [int(word) for word in script.stdout.readline().split()]
        assert len(workers) == 2
        assert all(map(is_there, workers))
        script.send_signal(number)
        _, err = script.communicate()
    wait_until(lambda: not any(map(is_there, workers)))
    assert script.returncode == -number
    assert err.count("Traceback") == (number == signal.SIGINT)  # the workers say nothing


@pytest.mark.slow
def test_a_notebook_can_have_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a function that is defined in a cell."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent), str(TESTS)]))
    source = """
from mullama_nb import SpawnedPool
from mullama_nb.tasks.running import run_all
import task_functions

def twice(x):
    return 2 * x

with SpawnedPool(2) as pool:
    print(sorted(run_all(twice, range(3), pool)), pool.submit(task_functions.square, 5).result())
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(
        notebook, timeout=None, kernel_name="python3", kernel_manager_class=AsyncKernelManager
    ).execute()
    (output,) = notebook.cells[0].outputs
    assert output.text == "[(0, 0), (1, 2), (2, 4)] 25\n"
