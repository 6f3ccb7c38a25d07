"""Cells by patterns; JUnit files of whatever was answered."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mullama_nb.errors import ParameterError
from mullama_nb.testing import CheckResult, SuiteAnswer, SuiteCell, SuiteResult
from mullama_nb.testing.suites.junit import write_junit
from mullama_nb.testing.suites.selecting import selected

IDS = [f"{c}[{m},{s}]" for c in ("Paris", "Rome", "Par.s") for m in "ab" for s in ("f16", "q8_0")]
PATTERNS = st.text(st.sampled_from("Paris[]ab,q8_0*?."), max_size=12)


@given(PATTERNS | st.sampled_from(IDS) | st.just("Paris"))
def test_patterns_are_those_of_shells_but_for_brackets(pattern: str) -> None:
    plain = pattern.replace("[", "[[]")
    wanted = [i for i in IDS if fnmatchcase(i, plain) or fnmatchcase(i.split("[")[0], plain)]
    if wanted:
        assert selected(IDS, [pattern]) == wanted
    else:
        with pytest.raises(ParameterError, match="no cell is called"):
            selected(IDS, [pattern])


def test_several_patterns_keep_the_order() -> None:
    assert selected(IDS, ["Rome[a,f16]", "*[b,q8_0]", "Rome"]) == [
        "Paris[b,q8_0]",
        *(i for i in IDS if i.startswith("Rome")),
        "Par.s[b,q8_0]",
    ]
    with pytest.raises(ParameterError, match="did you mean 'Rome'"):
        selected(IDS, ["Rom"])


def cell(text: str, *, passed: bool, error: str | None = None) -> SuiteCell:
    finding = CheckResult("contains('x')", passed, text, n_passed=int(passed))
    return SuiteCell(
        "a[m,s]",
        "a",
        "m",
        "s",
        passed=passed and error is None,
        error=error,
        findings=(finding,),
        answers=(SuiteAnswer(text),),
        question=text,
        digest="d",
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.characters(exclude_categories=[])), st.booleans(), st.none() | st.text())
def test_junit_files_are_xml(tmp_path: Path, text: str, passed: bool, error: str | None) -> None:
    path = tmp_path / "out.xml"
    result = SuiteResult(
        "name", ("a", "b"), ("m",), ("s",), (cell(text, passed=passed, error=error),),
        {"a[m,s]": "d", "b[m,s]": "e"},
    )  # fmt: skip
    write_junit(result, path)
    suite = next(ET.parse(path).iter("testsuite"))
    assert (suite.get("tests"), suite.get("skipped")) == ("2", "1")
    is_wrong = [suite.get("failures") == "1", suite.get("errors") == "1"]
    assert is_wrong == [not passed and error is None, error is not None]
    names = [p.get("name") for p in suite.iter("property")]
    assert names == ["contains('x')", "answer", "tokens_evaluated", "tokens_alone"]
