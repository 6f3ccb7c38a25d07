"""Progress: a bar where somebody sees it, calls where somebody asks."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from kernel_sockets import AsyncKernelManager
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

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


def test_what_was_done_before_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output(is_terminal=True)
    monkeypatch.setattr(sys, "stderr", output)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    with progress.tracked(True, 40, "suite", "cell", done=30) as advance:
        advance(1, "1 failed")
    first, *_, last = output.getvalue().split("\r")[1:]
    assert "75%" in first
    assert "30/40" in first
    assert "31/40" in last
    assert "1 failed" in last
    told: list[tuple[int, int]] = []
    with progress.tracked(lambda *of: told.append(of), 40, "suite", "cell", done=30) as advance:
        advance(1, "1 failed")
    assert told == [(30, 40), (31, 40)]


IN_A_NOTEBOOK = """
from ipywidgets.widgets.widget import _instances
from mullama_nb.progress import tracked
try:
    with tracked(None, 3, "cases", "case") as advance:
        advance(1)
        if {fails}:
            raise KeyboardInterrupt
        advance(2, "1 failed")
except KeyboardInterrupt:
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True], ids=["done", "interrupted"])
def test_a_notebook_keeps_nothing_of_a_bar_that_would_be_compared(fails: bool) -> None:
    cells = [
        new_code_cell(IN_A_NOTEBOOK.format(fails=fails)),
        new_code_cell("print(len(_instances))"),
    ]
    notebook = new_notebook(cells=cells)
    NotebookClient(
        notebook, timeout=None, kernel_name="python3", kernel_manager_class=AsyncKernelManager
    ).execute()
    (shown,) = notebook.cells[0].outputs
    assert shown.output_type == "display_data"
    assert [*shown.data] == ["application/vnd.jupyter.widget-view+json"]  # nbval skips it
    (view,) = shown.data.values()
    assert view["model_id"] == ""  # of one that is gone, a notebook opened later shows an error
    assert notebook.cells[1].outputs[0].text == "0\n"


@pytest.mark.parametrize("how", ["yes", 1, 0, []])
def test_anything_else_is_refused(how: object) -> None:
    with pytest.raises(ParameterError, match="progress="):
        progress.check_progress(how)  # type: ignore[arg-type]
