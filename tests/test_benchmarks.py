"""Every benchmark runs to its end; how fast that is, only a quiet machine can say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = re.findall(
    r'^    "(\w+)",$', (ROOT / "benchmarks" / "__main__.py").read_text(), re.MULTILINE
)


def test_all_names_are_found() -> None:
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert set(NAMES) <= modules
    assert {"generation", "tree", "growth"} <= set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs_to_its_end(name: str) -> None:
    command = [sys.executable, "-m", "benchmarks", name, "--least"]
    # Nothing is measured here, so threads that wait may leave the CPUs to other tests.
    env = os.environ | {"OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if "there is no chromium" in done.stderr:
        pytest.skip("no browser to measure in")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^-{20,}$", done.stdout, re.MULTILINE), done.stdout
