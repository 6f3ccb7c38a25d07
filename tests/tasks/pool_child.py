"""A script without a guard that has a pool: says its workers' numbers, then runs what lasts."""

from __future__ import annotations

import sys
import time

from mullama_nb import SpawnedPool
from mullama_nb.tasks.running import run_all

how = sys.argv[1]
sys.path.insert(0, sys.argv[2])

import task_functions  # noqa: E402 - as a script finds what lies beside it


def twice(x: int) -> int:
    return 2 * x


def write(*values: object) -> None:
    sys.stdout.write(" ".join(map(str, values)) + "\n")
    sys.stdout.flush()


def stay(seconds: float) -> None:
    time.sleep(seconds)


with SpawnedPool(2) as pool:
    if how == "results":
        write(sorted(run_all(twice, range(5), pool)))
    else:
        workers = {pool.submit(task_functions.meet, sys.argv[3], 2) for _ in range(2)}
        write(*(future.result() for future in workers))
        [*run_all(stay, [600.0] * 8, pool)]
