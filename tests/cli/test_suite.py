"""``mullama-nb suite run``, ``show`` and ``compare``, as a person or CI runs them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from cli_process import Run
from waiting import wait_until

from mullama_nb.testing import SuiteResult, make_tiny_model

SUITE = """\
models: [tiny0.gguf]
settings:
  - {n_ctx: 256, n_threads: 1, temperature: 0, max_tokens: 4}
cases:
  - said: hello
    name: any
    checks: [{matches: '(?s)'}]
  - said: hello
    name: none
    checks: [{contains: never said}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A suite of which one case passes, beside two models."""
    for seed in (0, 1):
        make_tiny_model(tmp_path / f"tiny{seed}.gguf", seed=seed)
    path = tmp_path / "words.suite.yaml"
    path.write_text(SUITE, "utf-8")
    return path


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def test_what_failed_is_shown_and_ends_with_1(run: Run, file: Path) -> None:
    done = run("suite", "run", file.name)
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    assert "words: FAILED" in done.stdout
    assert "contains('never said')" in done.stdout
    passing = run("suite", "run", file.name, "--select", "any")
    assert passing.returncode == 0, passing.stderr
    assert "words: passed" in passing.stdout


def test_other_models_and_cache_types(run: Run, file: Path) -> None:
    options = ("--model", "./tiny0.gguf", "--model", "./tiny1.gguf", "--kv", "f16", "--kv", "q8_0")
    done = run("suite", "run", file.name, *options, "--select", "a*[*,*q8_0]", "--json")
    assert done.returncode == 0, done.stderr
    told = result(done)
    assert [cell["id"] for cell in told["cells"]] == ["any[tiny0,q8_0]", "any[tiny1,q8_0]"]
    assert len({cell["fingerprint"] for cell in told["cells"]}) == 2


def test_results_are_kept_shown_and_gone_on_with(run: Run, file: Path, tmp_path: Path) -> None:
    options = ("--results", "kept.jsonl", "--json")
    first = run("suite", "run", file.name, "--select", "any", *options)
    assert first.returncode == 0, first.stderr
    both = run("suite", "run", file.name, *options)
    assert both.returncode == 1
    kept = {cell["id"]: cell for cell in result(both)["cells"]}
    assert len(kept) == 2
    (cell,) = result(first)["cells"]
    assert kept[cell["id"]]["seconds"] == cell["seconds"]  # it was not evaluated again
    shown = run("suite", "show", "kept.jsonl", "--html", "kept.html")
    assert shown.returncode == 1
    assert "words: FAILED" in shown.stdout
    assert (tmp_path / "kept.html").read_text("utf-8").lower().startswith("<!doctype html>")
    there = SuiteResult.read(tmp_path / "kept.jsonl").to_dict()
    assert json.loads(json.dumps(there)) == result(both)


def test_shards_are_shown_together(run: Run, file: Path) -> None:
    for name in ("any", "none"):
        run("suite", "run", file.name, "--select", name, "--results", f"{name}.jsonl")
    told = result(run("suite", "show", "any.jsonl", "none.jsonl", "--json"))
    assert {cell["case"] for cell in told["cells"]} == {"any", "none"}


def test_what_changed_is_said(run: Run, file: Path) -> None:
    run("suite", "run", file.name, "--results", "old.jsonl")
    same = run("suite", "compare", "old.jsonl", "old.jsonl")
    assert same.returncode == 0, same.stderr
    file.write_text(SUITE.replace("(?s)", "[0-9]{40}"), "utf-8")
    run("suite", "run", file.name, "--results", "new.jsonl")
    changed = run("suite", "compare", "old.jsonl", "new.jsonl", "--html", "changed.html")
    assert changed.returncode == 1
    assert "any[" in changed.stdout
    assert file.with_name("changed.html").exists()
    told = result(run("suite", "compare", "old.jsonl", "new.jsonl", "--json"))
    assert told["passed"] is False


def test_junit_tells_what_was_found(run: Run, file: Path) -> None:
    assert run("suite", "run", file.name, "--junit", "out.xml").returncode == 1
    suite = next(ET.parse(file.with_name("out.xml")).iter("testsuite"))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    first, second = suite.iter("testcase")
    assert str(first.get("name")).startswith("any[tiny0,")
    assert first.find("failure") is None
    failure = second.find("failure")
    assert failure is not None
    assert "'never said' is not in the answer" in str(failure.get("message"))
    assert "answered: " in str(failure.text)


def test_what_cannot_be_run_ends_with_2(run: Run, file: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.suite.yaml").write_text(SUITE.replace("contains", "contain"), "utf-8")
    (tmp_path / "gone.suite.yaml").write_text(SUITE.replace("tiny0", "tiny9"), "utf-8")
    (tmp_path / "no.jsonl").write_text("{}\n", "utf-8")
    for arguments, reason in (
        (("run", "none.suite.yaml"), "does not exist"),
        (("run", "bad.suite.yaml"), "bad.suite.yaml, line 10, cases[1].checks[0].contain: there"),
        (("run", "gone.suite.yaml"), "tiny9.gguf"),
        (("run", "no.jsonl"), "must end in .suite.yaml"),
        (("run", file.name, "--select", "ani"), "no cell is called 'ani' (did you mean 'any'?)"),
        (("run", file.name, "--model", "smolm"), "no model is called 'smolm'"),
        (("run", file.name, "--kv", "q9"), "'q9'"),
        (("run", file.name, "--workers", "0"), "--workers"),
        (("run", file.name, "--results", "no.jsonl"), "no.jsonl"),
        (("run", file.name, "--workers", "2", "--dask", "tcp://x:1"), "one of the two"),
        (("show", "no.jsonl"), "no.jsonl"),
        (("show",), "RESULTS"),
        (("compare", "no.jsonl", "no.jsonl"), "no.jsonl"),
    ):
        done = run("suite", *arguments)
        assert done.returncode == 2, (arguments, done.stdout, done.stderr)
        assert reason in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


@pytest.mark.slow
def test_workers_give_the_same_results(run: Run, file: Path) -> None:
    here = result(run("suite", "run", file.name, "--json"))
    done = run("suite", "run", file.name, "--json", "--workers", "2")
    assert done.returncode == 1, done.stderr
    there = result(done)
    for a, b in zip(here["cells"], there["cells"], strict=True):
        assert (a["id"], a["digest"], a["answers"]) == (b["id"], b["digest"], b["answers"])
        assert a["worker"] == "this process" != b["worker"]


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_results(run: Run, file: Path) -> None:
    from distributed import LocalCluster

    here = result(run("suite", "run", file.name, "--json"))
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        done = run("suite", "run", file.name, "--json", "--dask", cluster.scheduler_address)
    assert done.returncode == 1, done.stderr
    answers = [[cell["answers"] for cell in told["cells"]] for told in (here, result(done))]
    assert answers[0] == answers[1]


@pytest.mark.slow
def test_a_stopped_run_says_how_it_goes_on(
    file: Path, tmp_path: Path, home: dict[str, str]
) -> None:
    """It is stopped where its first result is in the file."""
    many = "".join(f"  - {{said: hello {i}, max_tokens: 60}}\n" for i in range(200))
    file.write_text(SUITE + many, "utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "mullama_nb", "suite", "run", file.name, "--results", "r.jsonl"],
        cwd=tmp_path,
        env=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    results = tmp_path / "r.jsonl"

    def has_begun() -> bool:
        has_result = results.exists() and results.read_bytes().count(b"\n") > 1
        return has_result or process.poll() is not None

    wait_until(has_begun)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, (out, err)
    assert "r.jsonl" in err
    assert "goes on" in err
    assert "Traceback" not in err
    assert 1 <= len(SuiteResult.read(results).cells) < 202


def test_models_files_and_cells_are_completed(run: Run, file: Path, home: dict[str, str]) -> None:
    def completed(*words: str) -> list[str]:
        home["COMP_WORDS"] = " ".join(["mullama-nb", *words])
        home["COMP_CWORD"] = str(len(words))
        return [line.partition(",")[2] for line in run().stdout.splitlines()]

    home["_MULLAMA_NB_COMPLETE"] = "bash_complete"
    assert completed("suite", "r") == ["run"]
    ids = ["any[tiny0,default]", "none[tiny0,default]"]
    assert completed("suite", "run", file.name, "--select", "") == ids
    assert completed("suite", "run", file.name, "--select", "n") == ids[1:]
    assert completed("suite", "run", file.name, "--model", "smol") == ["smollm2", "smol"]
    assert completed("suite", "show", "wo") == ["wo"]  # files, which the shell knows
