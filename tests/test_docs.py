"""What the pages of docs/ name is there: files, classes, methods, and what they link to."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
SOURCES = sorted((ROOT / "mullama_nb").rglob("*.py"))


def members() -> set[str]:
    """Every ``Class``, and every ``Class.method`` that a class defines."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found |= {node.name}
                found |= {
                    f"{node.name}.{inner.name}"
                    for inner in node.body
                    if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
                }
    return found


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


def test_the_design_names_what_is_there() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    package = ROOT / "mullama_nb"
    files = re.findall(r"`([\w/]+\.py)`", text)
    assert len(files) > 5
    for name in files:
        assert (package / name).exists() or (package / "history" / name).exists(), name
    named = re.findall(r"\b([A-Z][A-Za-z]+\.[a-z_]+)\b", text)
    assert len(named) > 5
    assert {name for name in named if name not in members()} == set()
