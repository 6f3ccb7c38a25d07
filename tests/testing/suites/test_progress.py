"""The bar of a suite: it begins at what is there, and says how many failed."""

from __future__ import annotations

import io
import sys

import pytest
from testing.suites.suite_values import cell

from mullama_nb.testing.suites.progress import followed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_failures_are_counted_from_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    stored = [cell("a"), cell("b", passed=False)]
    with followed(None, 4, stored, name="capitals") as come:
        come(cell("c"))
        come(cell("d", passed=False))
    shown = sys.stderr.getvalue().split("\r")  # type: ignore[attr-defined]
    assert "capitals:  50%" in shown[1]
    assert "2/4" in shown[1]
    assert "4/4" in shown[-1]
    assert "2 failed" in shown[-1]


def test_nothing_is_shown_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    with followed(None, 1) as come:
        come(cell("a"))
    assert capsys.readouterr() == ("", "")
