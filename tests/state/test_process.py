from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.state import process as process_module
from mullama_nb.state.process import is_running, this_process

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")


@pytest.fixture(autouse=True)
def _look_again() -> Iterator[None]:
    process_module._here.cache_clear()
    yield
    process_module._here.cache_clear()


def in_a_child() -> str:
    code = "from mullama_nb.state.process import this_process; print(this_process())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def changed(index: int, value: str) -> str:
    """This process's text with another part: number, start, machine, boot, namespace."""
    parts = this_process().split(":")
    parts[index] = value
    return ":".join(parts)


def test_this_process_runs_and_one_that_has_ended_does_not() -> None:
    assert this_process() == this_process()
    assert is_running(this_process())
    assert not is_running(in_a_child())


@linux
def test_a_later_process_with_the_same_number_is_another_one() -> None:
    assert not is_running(changed(1, "1"))


@linux
def test_who_cannot_be_seen_from_here_counts_as_alive() -> None:
    ended = in_a_child().split(":")
    other_container = ":".join([*ended[:4], "1"])
    other_machine = ":".join([*ended[:2], "elsewhere", "another-boot", ended[4]])
    assert is_running(other_container)
    assert is_running(other_machine)


@linux
def test_nothing_survives_a_restart_of_its_machine() -> None:
    assert not is_running(changed(3, "before"))
    assert not is_running(changed(3, "before").rpartition(":")[0] + ":1")


def test_without_proc_machines_are_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Path("/nowhere/mullama")
    monkeypatch.setattr(process_module, "_BOOT", missing)
    monkeypatch.setattr(process_module, "_NAMESPACE", missing)
    assert is_running(this_process())
    ended = in_a_child().split(":")
    assert not is_running(":".join([*ended[:3], "", ""]))
    assert is_running(":".join([*ended[:2], "elsewhere", "", ""]))


def test_a_text_of_an_earlier_version_is_read() -> None:
    number, started = this_process().split(":")[:2]
    assert is_running(f"{number}:{started}")
    assert not is_running(":".join(in_a_child().split(":")[:2]))


def test_somebody_elses_process_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: "proc" not in str(path) and exists(path))
    assert is_running(this_process())


@given(st.one_of(st.text(), st.lists(st.text(max_size=9), max_size=6).map(":".join)))
def test_any_text_may_be_asked_about(text: str) -> None:
    assert is_running(text) in (True, False)


@pytest.mark.parametrize("text", ["", ":", "x:1", "-1:5", "٣:1", "1e3", "9" * 30])
def test_what_is_no_process_does_not_run(text: str) -> None:
    assert not is_running(text)
