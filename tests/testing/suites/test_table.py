"""How results of suites are shown in terminals, logs and notebooks."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from testing.suites.suite_values import FEW, cell, results

from mullama_nb.testing import CheckResult, SuiteResult

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e\"'&"


def matrix() -> SuiteResult:
    flaky = CheckResult(
        "contains('x')", False, "3 of 5 draws passed", None, None, 3, 5, (0.23, 0.88)
    )
    cells = (
        cell("capital"),
        cell("capital", setting="q8_0", passed=False),
        cell("greeting", passed=False, findings=(flaky,)),
        cell("greeting", setting="q8_0", passed=False, findings=(), error="the worker was lost"),
        cell("sums"),
    )
    tasks = {each.id: each.digest for each in cells} | {"sums[m,q8_0]": "sums"}
    return SuiteResult(
        "s", ("capital", "greeting", "sums"), ("m",), ("plain", "q8_0"), cells, tasks
    )


SHOWN = """\
suite s: FAILED, 3 of 5 cells failed, 1 was not run
          plain       q8_0
capital   passed      FAILED
greeting  FAILED 3/5  ERROR
sums      passed      not run
capital[m,q8_0]: FAILED
  contains('x'): 'x' is not in 'y'
greeting[m,plain]: FAILED 3/5
  contains('x'): 3 of 5 draws passed (share 60%, interval 23% to 88%)
greeting[m,q8_0]: ERROR
  the worker was lost
not run: sums[m,q8_0]
50 tokens evaluated; each cell on its own: 200, 4.0 times as many"""


def test_a_table_of_words_and_then_the_failures() -> None:
    assert str(matrix()) == repr(matrix()) == SHOWN


def test_a_terminal_shows_the_same_in_colours() -> None:
    console = Console(width=100, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        console.print(matrix())
    assert "\x1b[1;31mFAILED" in capture.get()
    lines = re.sub("\x1b\\[[0-9;]*m", "", capture.get()).splitlines()
    assert [line.rstrip() for line in lines] == SHOWN.splitlines()


def test_a_notebook_shows_the_same_in_the_colours_of_its_theme() -> None:
    shown = matrix()._repr_html_()
    assert ';font-weight:bold;color:var(--jp-error-color1, #d32f2f)">FAILED 3/5</td>' in shown
    assert shown.count("var(--jp-error-color1") == 4
    assert "<style" not in shown
    for line in SHOWN.splitlines()[5:]:
        assert line.replace("'", "&#x27;") in shown


def test_of_many_cases_only_those_that_fail_are_listed() -> None:
    cases = tuple(f"case {i}" for i in range(500))
    cells = tuple(cell(case, passed=case != "case 77") for case in cases)
    shown = str(SuiteResult("s", cases, ("m",), ("plain",), cells)).splitlines()
    assert shown[0] == "suite s: FAILED, 1 of 500 cells failed"
    assert shown[2].split() == ["case", "77", "FAILED"]
    assert shown[3] == "499 other cases passed everywhere"
    assert len(shown) == 7


@given(
    alike=st.text("ab ", min_size=60, max_size=90), ends=st.permutations(["f16", "q8_0", "(12)"])
)
def test_labels_that_begin_alike_are_told_apart(alike: str, ends: list[str]) -> None:
    settings = tuple(f"{alike}{end}" for end in ends)
    cases = tuple(f"{alike} {end}" for end in ends)
    cells = tuple(cell(case, setting=setting) for case in cases for setting in settings)
    _, heads, *rows = str(SuiteResult("s", cases, ("m",), settings, cells)).splitlines()
    for end in ends:
        assert end in heads
        assert sum(end in row for row in rows[:3]) == 1


def test_of_many_failures_the_rest_is_counted() -> None:
    cases = tuple(f"case {i}" for i in range(300))
    result = SuiteResult(
        "s", cases, ("m",), ("plain",), tuple(cell(c, passed=False) for c in cases)
    )
    assert "and 200 more that failed" in str(result).splitlines()


@pytest.mark.slow
@FEW
@given(result=results())
def test_anything_is_shown_printably_and_without_markup(result: SuiteResult) -> None:
    for line in str(result).splitlines():
        assert line.isprintable()
    Console(quiet=True).print(result)
    assert "<script" not in result._repr_html_()


@given(text=st.sampled_from([HOSTILE, "[bold]x[/bold]", "\n\r\t", "a" * 10_000]))
def test_hostile_text_is_text(text: str) -> None:
    found = CheckResult(text, False, text)
    each = replace(cell("a", passed=False), case=text, setting=text, model=text, findings=(found,))
    result = SuiteResult(text, (text,), (text, "m"), (text, "plain"), (each,))
    for shown in (result, result.compare(result)):
        assert all(line.isprintable() and len(line) < 1_000 for line in str(shown).splitlines())
        assert "<script" not in shown._repr_html_()
        console = Console(width=10_000)
        with console.capture() as capture:
            console.print(shown)
        assert capture.get().split() == str(shown).split()
