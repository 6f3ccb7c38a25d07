"""What users import: modules with sorted names, and no lesson that needs another one."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from extensions.public_modules import PUBLIC
from IPython.core.inputtransformer2 import TransformerManager
from test_readme import EXAMPLE

import mullama_nb
from mullama_nb import testing

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.ipynb")])


@pytest.mark.parametrize("name", PUBLIC)
def test_names_are_sorted_and_exist(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__all__ == sorted(set(module.__all__))
    assert [each for each in module.__all__ if not hasattr(module, each)] == []
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_says_what_it_is(name: str) -> None:
    module = importlib.import_module(name)
    assert inspect.getdoc(module)
    for each in module.__all__:
        value = getattr(module, each)
        assert inspect.getdoc(value), each
        assert value.__module__.split(".")[0] == "mullama_nb"


@pytest.mark.parametrize("module", [mullama_nb, testing], ids=lambda module: module.__name__)
def test_what_is_imported_late_has_a_place(module: ModuleType) -> None:
    assert list(module._PLACES) == module.__all__


def sources(path: Path) -> Iterator[str]:
    """The Python on a page: cells of a lesson, examples of a text."""
    if path.suffix == ".md":
        yield from EXAMPLE.findall(path.read_text(encoding="utf-8"))
        return
    transform = TransformerManager().transform_cell  # magics become calls
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            yield transform(cell.source)


def imports(source: str) -> Iterator[tuple[str, str]]:
    """Modules of the package, each with a name that is imported from it, or none."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def inner(source: str) -> list[tuple[str, str]]:
    """What a source imports that is not public."""
    return [
        (module, name)
        for module, name in imports(source)
        if module.split(".")[0] == "mullama_nb" and not is_public(module, name)
    ]


def is_public(module: str, name: str) -> bool:
    if f"{module}.{name}" in PUBLIC or (module in PUBLIC and not name):
        return True
    return module in PUBLIC and name in importlib.import_module(module).__all__


@pytest.mark.parametrize("path", PAGES, ids=[path.name for path in PAGES])
def test_pages_import_what_is_public(path: Path) -> None:
    assert [found for source in sources(path) for found in inner(source)] == []


def test_pages_have_imports_to_look_at() -> None:
    found = {m for path in PAGES for s in sources(path) for m, _ in imports(s)}
    assert {"mullama_nb", "mullama_nb.errors", "mullama_nb.testing"} <= found


@pytest.mark.parametrize(
    "source",
    [
        "from mullama_nb.engine.kv import kv_bytes_per_token",
        "from mullama_nb.widgets.timeline import Timeline",
        "def f():\n    import mullama_nb.sessions.catalog as catalog",
        "from mullama_nb import engine",
        "from mullama_nb.errors import shown",
    ],
)
def test_what_is_inner_is_found(source: str) -> None:
    assert len(inner(source)) == 1
