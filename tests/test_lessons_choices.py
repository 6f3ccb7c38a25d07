"""How each token was chosen, of all answers that the lessons get from the demo model.

The lessons run here once more, as nbval leaves nothing behind to look at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

from mullama_nb.engine.sampling.choice import Choice
from mullama_nb.history.choice import choice
from mullama_nb.history.tree import CheckpointTree

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
REPLAYED = "10-regression-tests"  # its answers are those of other lessons, many times over
ANSWERS = re.compile(r"\.(a?ask|a?explore|astream|resume|regenerate)\(|%%ask")


def code(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


def has_answers(path: Path) -> bool:
    """Whether it keeps answers in a chat."""
    said = "\n".join(code(path))
    return "Chat" in said and ANSWERS.search(said) is not None


LESSONS = [
    path
    for path in sorted(NOTEBOOKS.glob("*.ipynb"))
    if has_answers(path) and path.stem != REPLAYED
]


@pytest.fixture
def trees(monkeypatch: pytest.MonkeyPatch) -> list[CheckpointTree]:
    """The trees that are made, which live until the end."""
    made: list[CheckpointTree] = []
    begin = CheckpointTree.__init__

    def begin_and_keep(tree: CheckpointTree, *values: object, **options: object) -> None:
        begin(tree, *values, **options)  # type: ignore[arg-type]
        made.append(tree)

    monkeypatch.setattr(CheckpointTree, "__init__", begin_and_keep)
    return made


def choices(tree: CheckpointTree) -> Iterator[Choice]:
    """How each token was chosen that was generated in a tree."""
    for end in [*tree]:
        if end.metadata.is_generated and end.tokens:
            with tree.visit(end):  # for all of its tokens at once
                for index in range(-len(end.tokens), 0):
                    found = choice(tree._workspace, end, index)
                    assert found.token == end.tokens[index]
                    yield found


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=[path.stem for path in LESSONS])
@pytest.mark.usefixtures("smollm2_path", "main_module")
def test_each_token_of_a_lesson_is_named(
    path: Path, trees: list[CheckpointTree], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(NOTEBOOKS)
    shell = InteractiveShell()
    for source in code(path):
        shell.run_cell(source)  # what is to fail in a lesson is held by nbval
    found = [each for tree in trees for each in choices(tree)]
    assert found
    for each in found:
        assert each.how in ("drawn", "likeliest", "forced"), each
        assert "these logits" not in each.note, each
        if each.how == "drawn":
            assert each.draw is not None, each
            assert each.draw.low <= each.draw.number < each.draw.high
