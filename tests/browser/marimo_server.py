"""A marimo server of our own, with one notebook."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent

from browser.server import Server

__all__ = ["MarimoServer"]

_SETTINGS = "[runtime]\nauto_instantiate = true\n\n[package_management]\nmanager = 'pip'\n"


class MarimoServer(Server):
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
        super().__init__("marimo")
        self.url = f"{self.address}/"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MARIMO", "XDG"))}
        command = [sys.executable, "-m", "marimo", "--yes", "edit", str(notebook)]
        options = ["--headless", "--no-token", "--skip-update-check", "--host", "127.0.0.1"]
        self.start(
            [*command, *options, "--port", str(self.port)],
            log=folder / "server.log",
            answers_at="/health",
            folder=folder,
            environment=kept | {"HOME": str(home)},
        )
