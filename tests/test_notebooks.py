"""Every lesson runs from top to bottom without a page, and becomes a page that shows no error."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from hang_guard import PATIENCE
from nbclient import NotebookClient
from nbconvert import HTMLExporter

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_lesson_runs_and_is_exported(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert "widgets" not in notebook.metadata
    n_outputs = [len(cell.get("outputs", ())) for cell in notebook.cells]
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(
        notebook,
        timeout=PATIENCE,
        startup_timeout=PATIENCE,
        iopub_timeout=PATIENCE,
        kernel_name="python3",
        resources=resources,
        store_widget_state=False,
    ).execute()
    ran = [len(cell.get("outputs", ())) for cell in notebook.cells]
    assert [bool(n) for n in ran] == [bool(n) for n in n_outputs]
    html, _ = HTMLExporter().from_notebook_node(notebook)
    assert "Traceback" not in html
