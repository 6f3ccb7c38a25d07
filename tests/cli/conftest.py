"""Running the command line as a person or a script would, mostly without a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import Run
from click.testing import CliRunner

from mullama_nb.cli import main


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose user has no files yet."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "HF_", "OLLAMA_"))}
    return kept | {"HOME": str(tmp_path / "home"), "TERM": "xterm", "COLUMNS": "100"}


@pytest.fixture
def run(tmp_path: Path, home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``mullama-nb`` with arguments in an empty folder, in this process.

    A start takes a second, in which nothing is tested that ``run_alone`` does not test.
    """
    monkeypatch.chdir(tmp_path)

    def start(
        *arguments: str, stdin: str = "", encoding: str = "utf-8"
    ) -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(
            main,
            arguments,
            input=stdin.encode(encoding),
            env=dict.fromkeys(os.environ) | home,  # which a test may have changed
            prog_name="mullama-nb",
        )
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return start


@pytest.fixture
def run_alone(tmp_path: Path, home: dict[str, str]) -> Run:
    """Run ``mullama-nb`` in a process of its own, with that one's streams, and wait for it."""

    def start(
        *arguments: str, stdin: str = "", encoding: str = "utf-8"
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mullama_nb", *arguments],
            input=stdin,
            capture_output=True,
            encoding=encoding,
            cwd=tmp_path,
            env=home,
            check=False,
        )

    return start
