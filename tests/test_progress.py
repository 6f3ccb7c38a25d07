"""Progress: a bar where somebody sees it, calls where somebody asks."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from mullama_nb import progress
from mullama_nb.errors import ParameterError


class Output(io.StringIO):
    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


def shown(monkeypatch: pytest.MonkeyPatch, how: object = None, *, is_terminal: bool = False) -> str:
    """What three of three cases write to standard error, outside IPython."""
    output = Output(is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stderr", output)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    with progress.tracked(how, 3, "cases", "case") as advance:  # type: ignore[arg-type]
        advance(1)
        advance(2)
    return output.getvalue()


def test_nothing_is_shown_in_a_file_or_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch) == ""


def test_a_terminal_shows_a_bar_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, False, is_terminal=True) == ""
    bar = shown(monkeypatch, is_terminal=True)
    assert "cases: 100%" in bar
    assert "3/3" in bar


def test_a_bar_that_is_asked_for_is_shown_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "3/3" in shown(monkeypatch, True)


def test_a_kernel_shows_it_and_a_plain_ipython_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Output(is_terminal=False))
    for config, is_shown in (({"IPKernelApp": {}}, True), ({}, False), (None, False)):
        shell = None if config is None else SimpleNamespace(config=config)
        module = SimpleNamespace(get_ipython=lambda shell=shell: shell)
        monkeypatch.setitem(sys.modules, "IPython", module)
        assert progress._is_shown() is is_shown


def test_a_function_is_told_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    assert shown(monkeypatch, lambda *of: told.append(of), is_terminal=True) == ""
    assert told == [(0, 3), (1, 3), (3, 3)]


@pytest.mark.parametrize("how", ["yes", 1, 0, []])
def test_anything_else_is_refused(how: object) -> None:
    with pytest.raises(ParameterError, match="progress="):
        progress.check_progress(how)  # type: ignore[arg-type]
