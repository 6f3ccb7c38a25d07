"""Shares of draws, and the intervals around them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.errors import ParameterError
from mullama_nb.testing import Finding
from mullama_nb.testing.suites.checks.share import combined, wilson


@pytest.mark.parametrize(
    ("n_passed", "n_drawn", "low", "high"),
    [  # as R's binom::binom.wilson prints them
        (0, 10, 0.0, 0.2775328),
        (5, 10, 0.2365931, 0.7634069),
        (10, 10, 0.7224672, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_intervals_are_the_published_ones(
    n_passed: int, n_drawn: int, low: float, high: float
) -> None:
    assert wilson(n_passed, n_drawn) == pytest.approx((low, high), abs=6e-5)


@given(
    st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.floats(0.5, 0.999),
)
def test_the_ends_are_where_the_score_test_turns(pair: tuple[int, int], confidence: float) -> None:
    """A share p is in it as long as the draws are within z standard errors, those of p."""
    n_passed, n = pair
    low, high = wilson(n_passed, n, confidence)
    assert 0 <= low <= n_passed / n <= high <= 1
    z_low, z_high = (
        abs(n_passed / n - p) / math.sqrt(p * (1 - p) / n) if 0 < p < 1 else None
        for p in (low, high)
    )
    if z_low is not None and z_high is not None:
        assert z_low == pytest.approx(z_high, rel=1e-6)
    for inside in (0.25, 0.5, 0.75):
        p = low + inside * (high - low)
        z = abs(n_passed / n - p) / math.sqrt(p * (1 - p) / n)
        assert z <= (z_low or z_high or math.inf) * (1 + 1e-9)


@given(st.integers(1, 60))
def test_it_covers_the_share_about_as_often_as_it_says(n: int) -> None:
    """Summed over all outcomes, exactly; the mean over shares is near what is promised."""
    intervals = [wilson(k, n) for k in range(n + 1)]
    shares = [(i + 0.5) / 50 for i in range(50)]
    covered = [
        math.fsum(
            math.comb(n, k) * p**k * (1 - p) ** (n - k)
            for k, (low, high) in enumerate(intervals)
            if low <= p <= high
        )
        for p in shares
    ]
    assert 0.93 < math.fsum(covered) / len(covered) < 0.985
    assert min(covered) > 0.8


@pytest.mark.parametrize("pair", [(0, 0), (2, 1), (-1, 3), (1.5, 3), (True, 3)])
def test_what_is_no_share_is_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(ParameterError):
        wilson(*pair)


@pytest.mark.parametrize("confidence", [0, 1, 1.5, "high"])
def test_a_confidence_is_between_0_and_1(confidence: float) -> None:
    with pytest.raises(ParameterError, match="confidence"):
        wilson(1, 3, confidence)


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_findings_of_all_draws_are_one_result(passed: list[bool]) -> None:
    findings = [
        Finding("contains('a')", each, f"draw {i}", float(i), i) for i, each in enumerate(passed)
    ]
    result = combined(findings)
    assert result.passed == all(passed)
    assert (result.n_passed, result.n_drawn) == (sum(passed), len(passed))
    told = passed.index(False) if False in passed else 0
    assert (result.value, result.token) == (told, told)
    assert result.detail == f"draw {told}"
    assert result.interval == (wilson(sum(passed), len(passed)) if len(passed) > 1 else None)


def test_only_findings_of_one_check_are_combined() -> None:
    a, b = Finding("a", True, ""), Finding("b", True, "")
    for findings in ([], [a, b]):
        with pytest.raises(ParameterError, match="one check"):
            combined(findings)
