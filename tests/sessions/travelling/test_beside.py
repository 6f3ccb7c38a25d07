"""Many that push and pull at the same time, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from sessions.store_child import check

from mullama_nb.errors import MullamaWarning
from mullama_nb.sessions.store import SessionStore
from mullama_nb.sessions.travelling.remote_store import RemoteStore

CHILD = Path(__file__).with_name("travel_child.py")


def travel(tmp_path: Path, url: str, n: int, rounds: int, environment: dict[str, str]) -> None:
    """Let some processes work on one place; check that all that was pushed is there, whole."""
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen(
            [sys.executable, CHILD, tmp_path / f"store {i}", url, str(i), str(rounds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=os.environ | path | environment,
        )
        for i in range(1, n + 1)
    ]
    said = [process.communicate() for process in running]
    assert {errors for _, errors in said} == {""}
    pushed = [line.split(":") for output, _ in said for line in output.splitlines()]
    assert len(pushed) > n
    remote = RemoteStore(url)
    lineages, segments = remote.lineages(None), remote.segments()
    there = set[tuple[str, int]]()
    for name, lineage in lineages.items():
        for entry in lineage.entries.values():
            manifest = remote.manifest(name, entry)
            assert {*manifest.addresses} <= {*segments}
            (token,) = manifest.written.body["tokens"]
            there.add((name, token))
    assert {(name, int(number)) for name, number in pushed} <= there
    reader = SessionStore(tmp_path / "reader")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MullamaWarning)  # several heads
        reader.pull(url)
    last = {name: int(number) for name, number in pushed if name.startswith("own")}
    for name in reader.names():
        check(reader, name)
        if name in last:  # nobody else writes there
            assert len(lineages[name].heads) == 1
            assert reader.open_session(name)[2]["tokens"] == [last[name]]
    assert reader.verify() == []
    for i in range(1, n + 1):
        assert SessionStore(tmp_path / f"store {i}").verify() == []


@pytest.mark.slow
def test_processes_share_a_folder(tmp_path: Path) -> None:
    travel(tmp_path, str(tmp_path / "shared"), 3, 12, {})


@pytest.mark.slow
def test_processes_share_a_bucket(tmp_path: Path, s3: str, s3_server: dict[str, str]) -> None:
    environment = {f"FSSPEC_S3_{key.upper()}": value for key, value in s3_server.items()}
    travel(tmp_path, s3, 2, 5, environment)
