"""What is marked as a model's words is left out of nbval's comparison, and nothing else is."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest
from nbval.plugin import get_sanitize_patterns

from mullama_nb import testing
from mullama_nb.testing import sanitize_file, words


def sanitized(text: str) -> str:
    """As nbval does it."""
    for pattern, replacement in get_sanitize_patterns(sanitize_file().read_text("ascii")):
        text = re.sub(pattern, replacement, text)
    return text


@pytest.mark.parametrize(
    "said",
    ["", "one", "one\ntwo\n\nthree", "a\rb", "a\x0bb\x0cc\u2028d\x85e\x1cf", "▏", "same: True"],
    ids=repr,
)
def test_any_words_compare_as_the_same(said: str) -> None:
    cell = f"before\n{words(said)}\nafter: 1\n"
    assert sanitized(cell) == "before\n(words)\nafter: 1\n"


def test_what_stands_beside_words_is_compared() -> None:
    assert sanitized("same: True\n") == "same: True\n"
    assert sanitized(f"a: {words('x')}\nb: 1") != sanitized(f"a: {words('x')}\nb: 2")
    assert sanitized(words("at the end")) == "(words)\n"


def test_public_names_are_no_modules() -> None:
    """A module of the same name would take the place of what is asked for, once it is loaded."""
    modules = {module.name for module in pkgutil.iter_modules(testing.__path__)}
    assert not modules & set(testing.__all__)
    assert testing.__all__ == sorted(testing.__all__)
    for name in modules:
        importlib.import_module(f"mullama_nb.testing.{name}")
    assert all(callable(getattr(testing, name)) for name in testing.__all__)
