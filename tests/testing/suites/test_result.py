"""Results of suites as values."""

from __future__ import annotations

import pickle

import pytest
from testing.suites.suite_values import cell

from mullama_nb.errors import ParameterError, RegressionError
from mullama_nb.testing import CheckResult, SuiteAnswer, SuiteCell, SuiteResult


def test_cells_are_in_the_order_of_the_matrix() -> None:
    cells = (cell("b", setting="q8"), cell("a", "n"), cell("b"), cell("a"))
    result = SuiteResult("s", ("a", "b"), ("m", "n"), ("plain", "q8"), cells)
    assert [each.id for each in result.cells] == [
        "a[m,plain]",
        "a[n,plain]",
        "b[m,plain]",
        "b[m,q8]",
    ]
    assert result.passed
    assert (result.tokens_evaluated, result.tokens_alone) == (40, 160)
    assert result["b[m,q8]"] is cells[0]


def test_a_failure_is_named_and_raised() -> None:
    result = SuiteResult("s", ("a", "b"), ("m",), ("plain",), (cell("a"), cell("b", passed=False)))
    assert not result.passed
    assert [each.id for each in result.failed] == ["b[m,plain]"]
    with pytest.raises(RegressionError, match=r"contains\('x'\): 'x' is not in 'y'"):
        result.check()


def test_what_did_not_run_is_missing_and_no_pass() -> None:
    tasks = {"a[m,plain]": "a", "b[m,plain]": "b"}
    result = SuiteResult("s", ("a", "b"), ("m",), ("plain",), (cell("a"),), tasks)
    assert result.missing == ("b[m,plain]",)
    assert not result.passed


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ((cell("a"), cell("a")), "two cells"),
        ((cell("c"),), "outside the matrix: 'c'"),
        ((cell("a", "n"),), "outside the matrix: 'n'"),
    ],
)
def test_cells_that_cannot_be_in_it_are_refused(cells: tuple[SuiteCell, ...], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        SuiteResult("s", ("a",), ("m",), ("plain",), cells)


def test_an_answer_has_a_piece_for_each_token() -> None:
    with pytest.raises(ParameterError, match="1 pieces do not fit an answer of 2 tokens"):
        SuiteAnswer("ab", (1, 2), ("a",), (-1.0, -2.0))


def test_numbers_are_finite() -> None:
    answer = SuiteAnswer("a", (1,), ("a",), (float("-inf"),))
    assert answer.logprobs == (-1e9,)
    assert CheckResult("perplexity_below(3)", False, value=float("inf")).value is None


def test_values_travel_between_processes() -> None:
    result = SuiteResult("s", ("a",), ("m",), ("plain",), (cell("a"),))
    assert pickle.loads(pickle.dumps(result)) == result
