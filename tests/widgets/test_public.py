"""Everybody imports widgets from ``mullama_nb.widgets`` and figures from ``mullama_nb.plots``."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = ("mullama_nb.widgets", "mullama_nb.plots")
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS += sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("place", PLACES)
def test_public_names_are_sorted_there_and_documented(place: str) -> None:
    module = importlib.import_module(place)
    assert module.__all__ == sorted(set(module.__all__))
    for name in module.__all__:
        public = getattr(module, name)
        assert inspect.getdoc(public), name
        assert public.__module__.startswith(place)
    others = {name for name in vars(module) if not name.startswith("_")} - {*module.__all__}
    assert {name for name in others if not inspect.ismodule(vars(module)[name])} <= {"annotations"}


def test_lessons_and_documents_import_from_there_only() -> None:
    deeper = re.compile(r"mullama_nb\.(?:widgets|plots)\.\w+ import|import mullama_nb\.\w+\.\w+")
    found = {path.name: deeper.findall(path.read_text(encoding="utf-8")) for path in TEXTS}
    assert {name: places for name, places in found.items() if places} == {}
