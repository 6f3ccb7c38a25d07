"""What must hold on every executor whose workers can be lost, one by one."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

import task_functions

from mullama_nb.errors import WorkerLostError
from mullama_nb.tasks.running import run_all

__all__ = ["lose_a_worker", "lose_two_workers"]

N_TASKS, DEADLY = 8, 1


def lose(executor: Executor, folder: Path, times: int) -> dict[int, object]:
    """A task kills its workers so many times, when all others are done."""
    results: dict[int, object] = {}
    tasks = [(folder, n, DEADLY, times) for n in range(N_TASKS)]
    for index, result in run_all(task_functions.die_when_told, tasks, executor):
        assert index not in results
        results[index] = result
        if len(results) == N_TASKS - 1:
            assert DEADLY not in results
            (folder / "go").touch()
    begun = {n: (folder / f"{n}").read_text().split() for n in range(N_TASKS)}
    assert [n for n, processes in begun.items() if len(processes) > 1] == [DEADLY]
    assert len(begun[DEADLY]) == len({*begun[DEADLY]}) == 2  # elsewhere
    return results


def lose_a_worker(executor: Executor, folder: Path) -> None:
    """No result is lost, and the task that it was running is repeated alone."""
    assert lose(executor, folder, 1) == {n: n for n in range(N_TASKS)}


def lose_two_workers(executor: Executor, folder: Path) -> None:
    """The task that killed both is given up; the others are done."""
    results = lose(executor, folder, 2)
    assert isinstance(results.pop(DEADLY), WorkerLostError)
    assert results == {n: n for n in range(N_TASKS) if n != DEADLY}
