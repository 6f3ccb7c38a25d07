"""Checks of an answer's words."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from testing.suites.checks.subjects import is_short, said

from mullama_nb.errors import ParameterError
from mullama_nb.testing import contains, matches
from mullama_nb.testing.suites.checks import searching
from mullama_nb.testing.suites.checks.searching import found_in, may_run_away
from mullama_nb.testing.suites.checks.words import Function

ANYTHING = st.text(max_size=60)


@given(ANYTHING, ANYTHING, ANYTHING.filter(bool))
def test_contains_finds_a_text_wherever_it_is(front: str, back: str, text: str) -> None:
    finding = contains(text).judge(said(front + text + back))
    assert finding.passed
    assert finding.check == contains(text).name
    without = (front + back).replace(text, "")
    if text not in without:
        assert not contains(text).judge(said(without)).passed


@given(ANYTHING, st.text(min_size=1, max_size=2000))
def test_names_and_details_are_printable_and_short(answer: str, text: str) -> None:
    for check in (contains(text), matches(re.escape(text)), Function(str.isupper)):
        finding = check.judge(said(answer))
        for line in (finding.check, finding.detail):
            assert line.isprintable()
            assert len(line) <= 600


def test_an_empty_answer_is_named_as_such() -> None:
    assert "empty" in contains("a").judge(said("")).detail


PATTERNS = [
    "a",
    "a|b",
    "(?i)A+",
    r"\d{2}-\d{2}",
    "(a|b)+c",
    "^a.*b$",
    "(?:ab)?c",
    r"\s+\S+",
    "a{2,3}",
]


@given(st.sampled_from(PATTERNS), st.text("aAbc12- \n", max_size=8))
def test_matches_finds_what_re_finds(pattern: str, text: str) -> None:
    found = re.search(pattern, text)
    if not may_run_away(pattern):  # what may is searched in a process, below
        assert found_in(pattern, text) == (None if found is None else found[0])


@pytest.mark.parametrize("text", ["aaab", "x\ny", "ünï\u202e日本\ud800", ""])
@pytest.mark.parametrize("pattern", [r"a*b+", r"(?s).+\n.+|b*$", r"[^\W\d]+|\S+"])
def test_a_search_in_a_process_finds_the_same(pattern: str, text: str) -> None:
    assert may_run_away(pattern)
    found = re.search(pattern, text)
    assert found_in(pattern, text) == (None if found is None else found[0])


RUNAWAYS = [
    r"(a+)+$",
    r"(a|aa)+$",
    r"(a|a)*$",
    r"(?:a?){40}a{40}$",
    "a?" * 40 + "a" * 40 + "$",
    "(a|a)" * 40 + "$",
    r"(.*a){12}$",
    r"a*a*a*a*a*a*a*$",
    r"^(\w+\s?)*$",
    r"(?P<x>a)(?:(?P=x)|a)*$",
    r"(.*)\1$",
    r"(?P<x>.*)(?P=x)$",
    "(?:a{0,1}b){9}",
    r"\(?" * 40 + r"\(" * 40,
    "(?x)(?:a?) {40}a{40}",
    "(?x:(?:a?)\n{40})a{40}",
    "(?sx)(a?) {40}a{40}",
]


@pytest.mark.parametrize("pattern", RUNAWAYS)
def test_what_can_run_away_is_known_for_it(pattern: str) -> None:
    assert may_run_away(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["Paris", r"\A\d+\Z", "(?i)paris", r"\d{4}-\d{2}-\d{2}", "yes|no", "(?:ab)c", "colou?r"],
)
def test_what_cannot_is_searched_at_once(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching.subprocess, "run", None)
    matches(pattern).judge(said("a" * 50))


def test_a_runaway_search_is_ended() -> None:
    with pytest.raises(ParameterError, match="still being searched for"):
        found_in(RUNAWAYS[0], "a" * 60 + "!", seconds=0.5)


def is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except (re.error, OverflowError):
        return False
    return bool(text)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@given(st.text("ab(){}[]*+?|^$.\\123,", max_size=12))
def test_a_pattern_is_refused_or_searched(pattern: str) -> None:
    if not is_pattern(pattern):
        with pytest.raises(ParameterError):
            matches(pattern)
        return
    check = matches(pattern)
    if not may_run_away(pattern):
        assert check.judge(said("ab")).passed == (re.search(pattern, "ab") is not None)


def test_a_compiled_pattern_is_refused_with_what_to_write() -> None:
    with pytest.raises(ParameterError, match=re.escape("matches('a+')")):
        matches(re.compile("a+"))  # type: ignore[arg-type]


def is_two_lines(text: str) -> None:
    raise AssertionError(f"first\n  second{text[1:]}")


def is_shown(text: str) -> None:
    assert "Paris" in text, f"no Paris in {text!r}"


@pytest.mark.parametrize(
    ("function", "text", "passed", "detail"),
    [
        (str.isupper, "YES", True, "accepts 'YES'"),
        (str.isupper, "no", False, "refuses 'no'"),
        (lambda text: np.bool_(text == "a"), "a", True, "accepts 'a'"),
        (is_short, "short", True, "accepts 'short'"),
        (is_short, "far too long", False, "assert len(text) < 10, of 'far too long'"),
        (is_shown, "Rome", False, "no Paris in 'Rome'"),
        (is_two_lines, "a", False, "first second, of 'a'"),
        (lambda text: json.loads(text)["a"] > 1, "{}", False, "KeyError: 'a'"),
        (lambda text: len(text) / 0, "\x1b[31m", False, "ZeroDivisionError"),
    ],
)
def test_functions_judge_as_tests_do(
    function: object, text: str, passed: bool, detail: str
) -> None:
    finding = Function(function).judge(said(text))  # type: ignore[arg-type]
    assert finding.passed is passed
    assert detail in finding.detail
    assert finding.detail.isprintable()


@pytest.mark.parametrize("value", [1, "yes", [], 0.5])
def test_a_function_says_yes_or_no(value: object) -> None:
    with pytest.raises(ParameterError, match="True or False"):
        Function(lambda _: value).judge(said("a"))


def test_an_interrupt_is_not_a_failure() -> None:
    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Function(stop).judge(said("a"))


def test_another_body_is_another_digest() -> None:
    def make(flag: bool) -> Function:
        if flag:

            def check(text: str) -> bool:
                return "a" in text

        else:

            def check(text: str) -> bool:
                return "b" in text

        return Function(check)

    assert make(True).name == make(False).name
    assert make(True).digest != make(False).digest
    assert make(True).digest == make(True).digest
