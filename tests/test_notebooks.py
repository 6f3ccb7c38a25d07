"""Every lesson is saved as it should be, and becomes a page that shows no error.

That it runs from top to bottom and says what it said is held by nbval, in ``make test``.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_lesson_is_saved_as_it_ran_and_is_exported(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert "widgets" not in notebook.metadata
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    failed = {
        i for i, cell in enumerate(code) if any(o.output_type == "error" for o in cell.outputs)
    }
    meant = {i for i, c in enumerate(code) if "raises-exception" in c.metadata.get("tags", ())}
    assert failed == meant
    html, _ = HTMLExporter().from_notebook_node(notebook)
    assert "Traceback" not in html
