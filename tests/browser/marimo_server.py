"""A marimo server of our own, with one notebook."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent

from browser.lab import PATIENCE

__all__ = ["MarimoServer"]

_SETTINGS = "[runtime]\nauto_instantiate = true\n\n[package_management]\nmanager = 'pip'\n"


class MarimoServer:
    """marimo's editor, in a folder; its notebook runs as soon as a page opens it.

    Parameters
    ----------
    folder : Path
    cells : sequence of str
    names : str
        The variables of the cells that others use, separated by commas.
    """

    def __init__(self, folder: Path, cells: Sequence[str], names: str) -> None:
        home = folder / "home"
        settings = home / ".config" / "marimo" / "marimo.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text(_SETTINGS, encoding="utf-8")
        first, *others = cells
        texts = [f"def _():\n{indent(first, '    ')}\n    return {names},"]
        texts += [f"def _({names}):\n{indent(other, '    ')}\n    return" for other in others]
        body = "".join(f"\n\n@app.cell\n{text}\n" for text in texts)
        notebook = folder / "notebook.py"
        notebook.write_text(f"import marimo\n\napp = marimo.App()\n{body}", encoding="utf-8")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MARIMO", "XDG"))}
        self._log = (folder / "server.log").open("w+", encoding="utf-8")
        command = [sys.executable, "-m", "marimo", "--yes", "edit", str(notebook)]
        options = ["--headless", "--no-token", "--skip-update-check", "--host", "127.0.0.1"]
        self._process = subprocess.Popen(
            [*command, *options, "--port", str(port)],
            cwd=folder,
            env=kept | {"HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._wait_until_it_answers()

    def close(self) -> None:
        """End the server and its kernel."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}health", timeout=5).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        self._process.kill()
        self._log.seek(0)
        raise RuntimeError(f"marimo did not start:\n{self._log.read()[-4000:]}")
