"""Suites on executors: the same results as here, and a worker that is killed takes none away."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import dask
import pytest
import task_functions
from distributed import Client, LocalCluster

from mullama_nb import SpawnedPool
from mullama_nb.testing import Case, Suite, SuiteResult, likelier, make_tiny_model

SETTINGS = ({"n_ctx": 512, "n_threads": 1, "temperature": 0, "max_tokens": 4},)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULLAMA_TEST_FOLDER", str(tmp_path))  # processes inherit it
    return tmp_path


@pytest.fixture(params=["spawned", "dask"])
def executor(request: pytest.FixtureRequest, folder: Path) -> Iterator[Executor]:
    if request.param == "spawned":
        with SpawnedPool(2) as pool:
            yield pool
        return
    settings = {"distributed.scheduler.worker-ttl": None}
    options: dict[str, Any] = {
        "dashboard_address": "127.0.0.1:0",
        "host": "127.0.0.1",
        "local_directory": str(folder / "dask"),
        "memory_limit": 0,
        "silence_logs": 50,
    }
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client.get_executor()


def said(result: SuiteResult) -> dict[str, tuple[bool, str | None, list[tuple[int, ...]]]]:
    return {
        cell.id: (cell.passed, cell.error, [answer.tokens for answer in cell.answers])
        for cell in result.cells
    }


@pytest.mark.slow
def test_a_killed_worker_takes_no_result_and_its_own_task_alone_is_repeated(
    executor: Executor, folder: Path
) -> None:
    suite = Suite(
        [
            Case("hello", name="asked"),
            Case(task_functions.lead_to_death, name="deadly"),
            *(Case(task_functions.lead, name=f"calm{n}") for n in range(4)),
            Case("The capital", [likelier(" a", than=" b", by=1000)], name="judged"),
        ],
        [make_tiny_model(folder / "tiny.gguf")],
        SETTINGS,
    )
    n_cells = len(suite.cell_ids)

    def follow(n_done: int, n_all: int) -> None:
        assert n_all == n_cells
        if n_done == n_cells - 1:
            (folder / "go").touch()

    kept = folder / "results.jsonl"
    result = suite.run(executor, results=kept, progress=follow)
    first, second = (folder / "deadly").read_text().split()
    assert first != second
    assert len((folder / "calm").read_text().split()) == 4
    assert [cell.case for cell in result.failed] == ["judged"]
    assert {*said(result)} == {*suite.cell_ids}
    assert said(SuiteResult.read(kept)) == said(result) == said(suite.run())
    assert all(cell.worker.startswith("process ") for cell in result.cells)
