"""Every benchmark runs to its end; how fast that is, only a quiet machine can say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import busy, exactness, generation, suite
from benchmarks.report import Effort
from mullama_nb import Model

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


# -- what only the full size shows --------------------------------------------------------------


def test_a_suites_prompt_is_as_long_as_stated_and_its_cases_fit(smollm2: Model) -> None:
    for effort in (Effort(), Effort(fraction=0.25), Effort(fraction=0.02)):
        for n_prompt, n_answer in (
            (suite._PROMPT_TOKENS, suite._ANSWER),
            (suite._SHORT_PROMPT, suite._LONG_ANSWER),
        ):
            n_prompt = effort.shortened(n_prompt)
            made, _ = suite._suites(smollm2.path, suite._CASES, n_prompt, n_answer)
            (setting,) = made.settings
            assert setting.system is not None
            assert len(smollm2.tokenize(setting.system)) == n_prompt
            for case in made.cases:
                said = [
                    {"role": "system", "content": setting.system},
                    {"role": "user", "content": case.said},
                ]
                n_tokens = len(smollm2.apply_chat_template(said).tokens) + n_answer
                assert n_prompt < n_tokens <= setting.params.n_ctx


def test_full_sizes_fit_their_contexts() -> None:
    """Where the cells are a number of their own, and do not follow from the size."""
    generated = max(generation._DEPTHS) + generation._TOKENS
    assert generated <= generation._PARAMS.n_ctx
    walked = max(exactness._POINTS.values()) + exactness._STEPS
    assert walked + 64 <= exactness._PARAMS.n_ctx  # with the question and the template around it
    assert busy._PARAMS.n_ctx >= busy._PROMPT + busy._MOST
