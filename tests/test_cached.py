"""Values that are worked out once leave no lock behind."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from interrupting import count_lines, interrupt
from waiting import in_thread

import mullama_nb
from mullama_nb.cached import cached


class Answer:
    """Counts how often it thinks."""

    n_thoughts = 0

    @cached
    def value(self) -> int:
        """What it comes to."""
        self.n_thoughts += 1
        return 6 * 7


def test_a_value_is_worked_out_once_for_each_object() -> None:
    first, second = Answer(), Answer()
    assert [first.value, first.value, second.value] == [42, 42, 42]
    assert (first.n_thoughts, second.n_thoughts) == (1, 1)
    assert isinstance(Answer.value, cached)
    assert Answer.value.__doc__ == "What it comes to."


def test_an_interrupt_at_any_line_keeps_nobody_waiting() -> None:
    def job() -> None:
        assert Answer().value == 42

    for line in range(1, count_lines(job) + 1):
        interrupt(job, line)
        in_thread(lambda: Answer().value).join()


@pytest.mark.slow
def test_nothing_in_the_package_uses_functools_lock() -> None:
    """``functools.cached_property`` has one lock a class up to Python 3.11."""
    for path in Path(mullama_nb.__file__).parent.rglob("*.py"):
        names = {
            n.name
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.ImportFrom)
            for n in node.names
        }
        assert "cached_property" not in names, path
