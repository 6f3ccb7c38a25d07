"""Running the command line as a process, as a person or a script would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import Run


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose user has no files yet."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "HF_", "OLLAMA_"))}
    return kept | {"HOME": str(tmp_path / "home"), "TERM": "xterm", "COLUMNS": "100"}


@pytest.fixture
def run(tmp_path: Path, home: dict[str, str]) -> Run:
    """Run ``mullama-nb`` with arguments in an empty folder, and wait for it."""

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
