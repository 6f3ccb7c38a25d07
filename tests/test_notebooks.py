"""Every lesson is saved as it should be, and becomes a page and slides that show no error.

That it runs from top to bottom and says what it said is held by nbval, in ``make test``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter, SlidesExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
TAUGHT = [path for path in NOTEBOOKS if int(path.stem[:2]) >= 12]  # as docs/lessons.md has it
ON_A_SLIDE = 14  # lines of code
WIDE = 70  # characters, which a slide has room for


@pytest.mark.slow
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


def test_the_quickstart_opens_alone_and_shows_panel_tree_and_cells_first() -> None:
    path = NOTEBOOKS[0].with_name("lessons.jupyterlab-workspace")
    layout = json.loads(path.read_text(encoding="utf-8"))["data"]["layout-restorer:data"]
    assert layout["main"]["dock"]["widgets"] == ["notebook:01-quickstart.ipynb"]
    cells = nbformat.read(path.with_name("01-quickstart.ipynb"), as_version=4).cells
    shown = [cell for cell in cells if cell.cell_type == "code"][:3]
    starts = ("Chat(", "Timeline(", "CellMap(")
    assert [said(c).startswith(s) for c, s in zip(shown, starts, strict=True)] == [True] * 3


def kind(cell: Any) -> str | None:
    """A cell's kind of slide."""
    return cell.metadata.get("slideshow", {}).get("slide_type")


def is_tagged(cell: Any, tag: str) -> bool:
    return tag in cell.metadata.get("tags", ())


def said(cell: Any) -> str:
    """What the last line of a cell returned, as text."""
    returned = [o.data["text/plain"] for o in cell.outputs if o.output_type == "execute_result"]
    return "".join(returned)


def slides(notebook: Any) -> list[str]:
    """The slides of a notebook, each as HTML."""
    html, _ = SlidesExporter().from_notebook_node(notebook)
    body = html[html.index('<div class="slides">') :]
    pages = re.split(r"<section>", body)[1:]
    return [page for page in pages if "jp-Cell" in page]  # a slide and those below it have a frame


@pytest.mark.slow
@pytest.mark.parametrize("path", TAUGHT, ids=[path.stem for path in TAUGHT])
def test_a_lesson_for_a_class_becomes_slides(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    cells = notebook.cells
    assert [c.get("id") for c in cells if kind(c) not in ("slide", "subslide", "-", "skip")] == []
    shown = [c for c in cells if kind(c) != "skip"]
    assert len(slides(notebook)) == sum(kind(c) in ("slide", "subslide") for c in shown) >= 6
    for cell in shown:
        if cell.cell_type == "code":
            lines = cell.source.splitlines()
            assert len(lines) <= ON_A_SLIDE, cell.source
            assert max(map(len, lines)) <= WIDE, cell.source


@pytest.mark.parametrize("path", TAUGHT, ids=[path.stem for path in TAUGHT])
def test_a_lesson_for_a_class_opens_with_its_picture_and_ends_in_short(path: Path) -> None:
    title, _, picture, *_, last = nbformat.read(path, as_version=4).cells
    assert title.source.startswith("# ")
    assert kind(title) == "slide"
    assert kind(picture) == "-"
    data = [o.data for o in picture.outputs if "data" in o]
    assert any({"image/png", "image/svg+xml", "text/html"} & set(each) for each in data)
    assert last.source.startswith("## In short\n")
    assert kind(last) == "slide"


@pytest.mark.parametrize("path", TAUGHT, ids=[path.stem for path in TAUGHT])
def test_each_exercise_is_to_do_and_can_be_solved(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    exercises = [i for i, cell in enumerate(cells) if is_tagged(cell, "exercise")]
    assert len(exercises) == 2
    assert [i for i, cell in enumerate(cells) if is_tagged(cell, "solution")] == [
        i + 1 for i in exercises
    ]
    for i in exercises:
        question, exercise, solution = cells[i - 1 : i + 2]
        assert question.source.startswith("## Exercise")
        assert re.search(r"^\w+ = \.\.\.$", exercise.source, re.MULTILINE)
        assert said(exercise).startswith("To do: ")
        assert "..." not in solution.source
        assert said(solution).startswith("Right.")
        assert solution.metadata.get("jupyter") == {"source_hidden": True, "outputs_hidden": True}
        assert kind(solution) == "skip"
        assert kind(exercise) == "-"


def test_slides_are_counted_as_they_are_shown() -> None:
    kinds = ["slide", "-", "skip", "subslide", "slide", "-"]
    cells = [
        (new_markdown_cell if i % 2 else new_code_cell)(
            f"cell {i}", metadata={"slideshow": {"slide_type": each}}
        )
        for i, each in enumerate(kinds)
    ]
    found = slides(new_notebook(cells=cells))
    assert [re.findall(r"cell.*?(\d)", re.sub("<.*?>", "", page)) for page in found] == [
        ["0", "1"],
        ["3"],
        ["4", "5"],
    ]
