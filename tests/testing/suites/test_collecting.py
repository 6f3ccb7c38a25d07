"""Suites as tests, in runs of pytest as their users start them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import nbval.plugin  # noqa: F401 - a run within this process forgets what it has imported
import pytest

from mullama_nb import Model
from mullama_nb.testing import make_tiny_model

pytest_plugins = ["pytester"]
Run = Callable[..., pytest.RunResult]

SUITE = """\
models: [tiny.gguf]
settings:
  - n_ctx: 256
    n_threads: 1
    system: Be brief.
  - n_ctx: 256
    n_threads: 1
    name: coarse
    kv_cache_type: q8_0
cases:
  - said: one hello
    name: first
    temperature: 0
    max_tokens: 4
    checks:
      - matches: (?s).*
  - said: two
    name: second
    checks:
      - at_least: {text: a, probability: 0.999}
  - said: one hello there
    name: third
    temperature: 0
    max_tokens: 4
    checks:
      - contains: "never \\e said"
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Run pytest in the folder, with warnings as errors and the plugin from its entry point."""

    def start(*options: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-v", "-W", "error", "-p", "no:cacheprovider", *options)

    return start


@pytest.fixture
def file(pytester: pytest.Pytester) -> Path:
    """A suite in the folder, with its model: two settings, of which one passes each first case."""
    make_tiny_model(pytester.path / "tiny.gguf")
    path = pytester.path / "words.suite.yaml"
    path.write_text(SUITE, "utf-8")
    return path


def ids(done: pytest.RunResult) -> list[str]:
    return [line for line in done.outlines if "words.suite" in line and "::" in line]


def properties(file: Path) -> dict[str, dict[str, str]]:
    """What a JUnit file says of each test."""
    return {
        case.attrib["name"]: {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")}
        for case in ET.parse(file).iter("testcase")
    }


def test_cells_are_tests_with_the_option_alone(run: Run, file: Path) -> None:
    assert run().ret == 5  # nothing is collected
    done = run("--mullama")
    done.assert_outcomes(passed=2, failed=4)
    for name in ("first", "second", "third"):
        for setting in ("coarse", "system Be brief. f16"):
            word = "PASSED" if name == "first" else "FAILED"
            assert f"{file.name}::{name}[tiny,{setting}] {word}" in done.stdout.str()


def test_cells_run_where_they_have_most_in_common(run: Run, file: Path) -> None:
    collected = run("--mullama", "--collect-only", "-qq")
    order = [line.partition("::")[2].partition("[")[0] for line in ids(collected)]
    assert order == ["first", "third", "second"] * 2
    run("--mullama", "--junitxml=out.xml")
    found = properties(file.parent / "out.xml")
    first, third = (found[f"{name}[tiny,coarse]"] for name in ("first", "third"))
    assert first["tokens_evaluated"] == first["tokens_alone"]
    assert int(third["tokens_evaluated"]) < int(third["tokens_alone"])  # its beginning was there


@pytest.mark.slow
def test_one_is_selected_by_its_id(run: Run, file: Path) -> None:
    run("--mullama", f"{file.name}::first[tiny,coarse]").assert_outcomes(passed=1)
    run("--mullama", f"{file.name}::first").assert_outcomes(passed=2)
    run("--mullama", "-k", "third and coarse").assert_outcomes(failed=1, deselected=5)
    assert run("--mullama", f"{file.name}::fifth[tiny,coarse]").ret == 4


def test_a_failure_says_what_to_see_and_how_to_run_it_alone(run: Run, file: Path) -> None:
    done = run("--mullama", f"{file.name}::third[tiny,coarse]")
    text = done.stdout.str()
    assert "third[tiny,coarse]: FAILED" in text
    assert "contains('never \\x1b said')" in text
    assert "asked: 'one hello there'" in text
    assert "answered: '" in text
    assert "Traceback" not in text
    assert ".py:" not in text
    # Where CI is set, pytest says it once more in its summary.
    (command,) = {line for line in done.outlines if line.startswith("alone: ")}
    name, *arguments = shlex.split(command.removeprefix("alone: "))
    assert name == "pytest"
    run(*arguments).assert_outcomes(failed=1)


def test_junit_has_what_was_found(run: Run, file: Path) -> None:
    run("--mullama", "--junitxml=out.xml")
    cases = properties(file.parent / "out.xml")
    assert len(cases) == 6
    assert cases["second[tiny,coarse]"]["at_least('a', 0.999)"].startswith("FAILED: 'a' (-")
    assert "answer" not in cases["second[tiny,coarse]"]  # none was generated
    assert cases["first[tiny,coarse]"]["matches('(?s).*')"].startswith("passed: ")
    assert "answer" in cases["first[tiny,coarse]"]


def test_another_model_and_cache_type(run: Run, file: Path, pytester: pytest.Pytester) -> None:
    make_tiny_model(pytester.path / "other.gguf", seed=1)
    done = run("--mullama", "--mullama-model=other.gguf", "--mullama-kv=f32", "-k", "first")
    done.assert_outcomes(passed=2, deselected=4)
    assert "first[other,coarse] PASSED" in done.stdout.str()
    failing = run("--mullama", "--mullama-model=./other.gguf", "--mullama-kv=f32", "-k", "second")
    assert "--mullama-model=./other.gguf --mullama-kv=f32" in failing.stdout.str()
    assert file.exists()


def test_what_cannot_be_read_is_an_error_of_collection(run: Run, file: Path) -> None:
    file.write_text(SUITE.replace("contains:", "contain:"), "utf-8")
    done = run("--mullama")
    assert done.ret == 2
    text = done.stdout.str()
    said = "words.suite.yaml, line 26, cases[2].checks[0].contain: there is nothing of that name"
    assert said in text.replace("\n", " ")
    assert "did you mean 'contains'?" in text
    assert "Traceback" not in text
    assert ".py:" not in text


def test_a_model_that_is_not_there_is_said_plainly(run: Run, file: Path) -> None:
    (file.parent / "tiny.gguf").unlink()
    done = run("--mullama", "-k", "first and coarse")
    done.assert_outcomes(failed=1, deselected=5)
    assert "there is no file" in done.stdout.str()
    assert "Traceback" not in done.stdout.str()


def test_lines_are_collected_too(run: Run, file: Path) -> None:
    head = {"models": ["tiny.gguf"], "settings": [{"n_ctx": 256, "n_threads": 1}]}
    said = {"said": "hello", "checks": [{"matches": "(?s)"}], "max_tokens": 2}
    lines = file.with_name("many.suite.jsonl")
    lines.write_text("".join(f"{json.dumps(each)}\n" for each in (head, said, said)), "utf-8")
    done = run("--mullama", lines.name)
    done.assert_outcomes(passed=2)
    assert "many.suite.jsonl::hello (2)[tiny,default] PASSED" in done.stdout.str()


@pytest.mark.slow
def test_workers_of_xdist_share_the_cells(file: Path, pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_subprocess(
        "--mullama", "-n", "2", "-p", "no:cacheprovider", "--junitxml=out.xml"
    )
    done.assert_outcomes(passed=2, failed=4)
    assert len([*ET.parse(file.parent / "out.xml").iter("testcase")]) == 6
    assert "contains('never" in done.stdout.str()


@pytest.mark.slow
def test_nothing_is_loaded_where_no_suite_is_collected(pytester: pytest.Pytester) -> None:
    (pytester.path / "x.suite.yaml").write_text("damaged: [", "utf-8")
    (pytester.path / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    heavy = {'llama_cpp', 'yaml', 'jsonschema', 'numpy'}\n"
        "    heavy |= {'mullama_nb.testing.collecting'}\n"
        "    assert not heavy & {*sys.modules}\n",
        "utf-8",
    )
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:nbval", "-p", "no:hypothesispytest")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=pytester.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_model_is_loaded_once(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load = Model.load

    def counted(name: str, **options: object) -> Model:
        loaded.append(str(name))
        return load(name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "load", counted)
    run("--mullama")
    assert {Path(name).name for name in loaded} == {"tiny.gguf"}
    assert len(loaded) <= 2  # to plan, and by the worker, which share the weights
    assert file.exists()
