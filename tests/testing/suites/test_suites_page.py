"""What docs/suites.md shows: its file, its Python, and its workflow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from test_readme import examples

from mullama_nb.errors import SuiteError
from mullama_nb.testing import Suite
from mullama_nb.testing.suites.checks.forms import KINDS

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "suites.md"
TEXT = PAGE.read_text("utf-8")
FILE, WORKFLOW = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.usefixtures("smollm2_path")
def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("capitals.suite.yaml").write_text(FILE, "utf-8")
    names: dict[str, object] = {"__name__": "__main__"}
    for source in examples(TEXT):
        exec(compile(source, str(PAGE), "exec"), names)


def test_the_mistakes_are_told_so(tmp_path: Path) -> None:
    path = tmp_path / "capitals.suite.yaml"
    (told,) = re.findall(r"^```\n(capitals.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    for line, (old, new) in zip(
        told.splitlines(), (("by: 2.0", "by: -1"), ("models:", "model:")), strict=True
    ):
        path.write_text(FILE.replace(old, new), "utf-8")
        with pytest.raises(SuiteError) as caught:
            Suite.read(path)
        assert line.partition(", ")[2] in str(caught.value)


def test_every_check_is_shown() -> None:
    shown = re.findall(r"^\| `(\w+): ", TEXT, re.MULTILINE)
    assert sorted(shown) == [*KINDS]


def test_the_workflow_is_one() -> None:
    """By what a CI service reads; the cell of the page's example is one of the file's."""
    steps = yaml.safe_load(WORKFLOW)["jobs"]["suites"]["steps"]
    assert sum("run" in step for step in steps) == 3


def test_ids_on_the_page_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "capitals.suite.yaml"
    path.write_text(FILE, "utf-8")
    ids = Suite.read(path).cell_ids
    assert [*re.findall(r'suite\.yaml::([^"\s]+\])"', TEXT)] == [ids[-1]]
