"""What the pages of docs/ name is there: files, classes, methods, and what they link to."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import runpy
import subprocess
import sys
from inspect import isclass
from pathlib import Path

import pytest
from extensions.public_modules import PUBLIC

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


@pytest.mark.slow
def test_the_design_names_what_is_there() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    package = ROOT / "mullama_nb"
    files = re.findall(r"`([\w/]+\.py)`", text)
    assert len(files) > 5
    for name in files:
        assert (package / name).exists() or (package / "history" / name).exists(), name
    named = re.findall(r"\b([A-Z][A-Za-z]+\.[a-z_]+)\b", text)
    assert len(named) > 5
    assert {*named} - members() == set()


AUTOSUMMARY = re.compile(
    r"\.\. currentmodule:: (\S+)\n\n\.\. autosummary::\n   :toctree: generated\n\n((?:   \w+\n)+)"
)


def test_the_reference_lists_every_public_name_once() -> None:
    listed = [
        f"{module}.{name}"
        for page in sorted((ROOT / "docs" / "reference").glob("*.md"))
        for module, names in AUTOSUMMARY.findall(page.read_text(encoding="utf-8"))
        for name in names.split()
    ]
    assert len(listed) == len(set(listed))
    objects = [getattr(importlib.import_module(m), n) for m, _, n in map(split, listed)]
    public = [getattr(importlib.import_module(m), n) for m in PUBLIC for n in names_of(m)]
    assert {id(each) for each in objects} == {id(each) for each in public}
    assert len({id(each) for each in objects}) == len(objects)


def test_the_reference_can_read_every_signature() -> None:
    readable = runpy.run_path(str(ROOT / "docs" / "extensions" / "signatures.py"))["readable"]
    written = {}
    for module in PUBLIC:
        for name in names_of(module):
            value = getattr(importlib.import_module(module), name)
            for owner, each in (
                [(name, value), *vars(value).items()] if isclass(value) else [(name, value)]
            ):
                if callable(each) and not owner.startswith("_"):
                    written[f"{name}.{owner}"] = str(inspect.signature(each))
    assert any("<" in signature for signature in written.values())
    for place, signature in written.items():
        shown = readable(signature)
        assert "<" not in shown, place
        ast.parse(f"def name{shown}: ...")


def split(place: str) -> tuple[str, str, str]:
    return place.rpartition(".")


def names_of(module: str) -> list[str]:
    names: list[str] = importlib.import_module(module).__all__
    return names


def check_site(folder: Path, page: str) -> subprocess.CompletedProcess[str]:
    (folder / "other.html").write_text('<p id="there">', encoding="utf-8")
    (folder / "index.html").write_text(page, encoding="utf-8")
    checked = [sys.executable, str(ROOT / "tools" / "site_links.py"), str(folder)]
    return subprocess.run(checked, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ('<a href="gone.html">', "gone.html is not there"),
        ('<a href="other.html#gone">', "other.html#gone names no place of that page"),
        ('<a href="#gone">', "#gone names no place of that page"),
        ('<img src="gone.png">', "gone.png is not there"),
        ('<script src="https://example.org/a.js"></script>', "loads https://example.org/a.js"),
        ('<link rel="stylesheet" href="//example.org/a.css">', "loads //example.org/a.css"),
    ],
)
def test_a_site_with_a_fault_fails(page: str, fault: str, tmp_path: Path) -> None:
    result = check_site(tmp_path, page)
    assert result.returncode == 1
    assert result.stdout == f"index.html: {fault}\n"


def test_a_site_whose_links_lead_somewhere_passes(tmp_path: Path) -> None:
    links = ["#here", "other.html", "other.html#there", "https://example.org/", "mailto:a@b.c"]
    page = '<p id="here">' + "".join(f'<a href="{link}"></a>' for link in links)
    result = check_site(tmp_path, page)
    assert (result.returncode, result.stdout) == (0, "")
