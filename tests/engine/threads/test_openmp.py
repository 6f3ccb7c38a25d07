"""How threads wait, switched for real: what it changes, and what it never changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from tiny_models import make_model

from mullama_nb import machine
from mullama_nb.engine import native
from mullama_nb.engine.threads.openmp import Switch

CHILD = Path(__file__).with_name("waiting_child.py")

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux")
    or len(os.sched_getaffinity(0)) < 2
    or "OPENMP = 1" not in native.system_info()
    or llama_cpp.llama_supports_gpu_offload(),
    reason="libgomp is not what runs here, or has one CPU only",
)


def child(what: str, model: Path, **environment: str) -> Any:
    """Run a part of the child without the OpenMP settings that these tests may run under."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(CHILD), what, str(model)],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("waiting") / "tiny.gguf", "llama")


@pytest.mark.parametrize("architecture", ["smollm2", "llama", "gemma3", "lfm2"])
def test_results_do_not_depend_on_it(smollm2_path: Path, tmp_path: Path, architecture: str) -> None:
    path = smollm2_path
    if architecture != "smollm2":
        path = make_model(tmp_path / "tiny.gguf", architecture)
    results = child("results", path)
    assert set(results) == {"spin", "make_yield", "toggle"}
    assert all(result == results["spin"] for result in results.values())


def test_threads_that_yield_sleep(smollm2_path: Path) -> None:
    counts = child("sleeps", smollm2_path)
    assert counts["make_yield"] > 2 * counts["spin"], counts
    assert (counts["spin is"], counts["make_yield is"]) == ("spinning", "yielding")
    n_cpus = len(os.sched_getaffinity(0))
    assert counts["more threads"] == n_cpus  # a team of that many, whose owner is one of them
    assert counts["threads left"] == 0


@pytest.mark.slow
def test_a_context_says_how_its_threads_wait(tiny_path: Path) -> None:
    assert child("states", tiny_path) == {
        "one": "alone",
        "two": "spinning",
        "too many": "yielding",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OMP_WAIT_POLICY", "passive"),
        ("OMP_WAIT_POLICY", "active"),
        ("GOMP_SPINCOUNT", "1000"),
        ("OMP_PROC_BIND", "false"),
        ("OMP_DYNAMIC", "false"),
    ],
)
def test_what_the_user_has_set_is_left_alone(tiny_path: Path, name: str, value: str) -> None:
    said = child("states", tiny_path, **{name: value})
    assert said == {"one": "alone", "two": "as set", "too many": "as set"}
    assert child("refusal", tiny_path, **{name: value}) == f"{name}={value} is left alone"


def test_a_number_of_threads_is_no_word_on_waiting(smollm2_path: Path) -> None:
    counts = child("sleeps", smollm2_path, OMP_NUM_THREADS="1")
    assert counts["make_yield"] > 2 * counts["spin"], counts


def test_a_crowd_is_noticed(smollm2_path: Path) -> None:
    assert child("crowded", smollm2_path) == "yielding"


@pytest.mark.slow
def test_no_other_libgomp_is_loaded(tiny_path: Path) -> None:
    before, after, name = child("libraries", tiny_path)
    assert before == after
    assert [Path(path).name.partition(".so")[0] for path in after] == ["libgomp"]
    assert name.startswith("libgomp.so")


@pytest.mark.slow
def test_another_openmp_in_front_of_it_is_left_alone(tiny_path: Path, tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, library = tmp_path / "other.c", tmp_path / "libother.so"
    source.write_text(
        "void GOMP_parallel(void (*f)(void *), void *d, unsigned n, unsigned g) { f(d); }"
    )
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library], check=True)
    said = child("refusal", tiny_path, LD_PRELOAD=str(library))
    assert said == "OpenMP is libother.so here, not libgomp"


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, {"OMP_WAIT_POLICY": "passive"}])
def test_the_first_context_of_a_process_goes(tiny_path: Path, environment: dict[str, str]) -> None:
    assert child("first_context", tiny_path, **environment) == "gone"


@pytest.mark.slow
def test_a_fork_makes_contexts_of_its_own(tiny_path: Path) -> None:
    assert child("fork", tiny_path) == [True, "unknown", "yielding"]


@pytest.mark.slow
def test_the_interpreter_ends_while_threads_yield(tiny_path: Path) -> None:
    assert child("leave", tiny_path) == "left"


def test_no_thread_is_started_where_few_are_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """libgomp would end the process."""

    class Library:
        """Has libgomp's functions; a call of one would be noticed."""

        class GOMP_parallel:  # noqa: N801
            argtypes: object = None
            restype: object = None

        omp_get_max_threads = None

    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    mount = "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    (tmp_path / "proc/self/mountinfo").write_text(mount)
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/pids.max").write_text("100\n")
    (tmp_path / "sys/fs/cgroup/pids.current").write_text("90\n")
    monkeypatch.setattr(machine, "here", machine.Machine(tmp_path, {}))
    switch = Switch(Library(), "libgomp")  # type: ignore[arg-type]
    assert not switch.make_yield()
    assert not switch.is_yielding
