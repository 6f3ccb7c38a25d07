"""Numbers in pages: the same words as in Python, figures and the terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from javascript import FRONT_END, JavaScript

from mullama_nb.size import size
from mullama_nb.widgets.format import percent
from mullama_nb.widgets.kv_plot import _ticks

FORMAT = FRONT_END / "format.js"
BYTES = st.integers(0, 2**53 - 1)
FEW = st.integers(0, 10**6).map(lambda n: n / 8)  # ties, too


@given(st.lists(st.one_of(BYTES, FEW), max_size=200))
def test_sizes_are_those_of_python(javascript: JavaScript, sizes: list[float]) -> None:
    for n_bytes in sizes:
        assert javascript.call(FORMAT, "size", n_bytes) == size(n_bytes)


@pytest.mark.parametrize("n_bytes", [999.5, 12_250, 999_499, 999_500, 999_999_999_500_000])
def test_halves_are_rounded_up_in_both(javascript: JavaScript, n_bytes: float) -> None:
    assert javascript.call(FORMAT, "size", n_bytes) == size(n_bytes)


@pytest.mark.parametrize(
    ("function", "arguments", "shown"),
    [
        ("count", [1234567], "1,234,567"),
        ("plural", [1, "token"], "1 token"),
        ("plural", [0, "token"], "0 tokens"),
        ("plural", [2000, "token"], "2,000 tokens"),
        ("percent", [0], "0.0 %"),
        ("percent", [0.0004], "< 0.1 %"),
        ("percent", [0.0994], "9.9 %"),
        ("percent", [0.0996], "10 %"),
        ("percent", [1], "100 %"),
    ],
)
def test_numbers_in_words(
    javascript: JavaScript, function: str, arguments: list[object], shown: str
) -> None:
    assert javascript.call(FORMAT, function, *arguments) == shown


@given(st.lists(st.one_of(st.floats(0, 1), st.integers(0, 8000).map(lambda n: n / 8000))))
def test_shares_are_those_of_python(javascript: JavaScript, shares: list[float]) -> None:
    for share in [*shares, 0.0005, 0.0995, 0.125]:
        assert javascript.call(FORMAT, "percent", share) == percent(share)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 minute"),
        (3599, "59 minutes"),
        (7200, "2 hours"),
        (86400, "1 day"),
        (864_000, "10 days"),
    ],
)
def test_ages(javascript: JavaScript, seconds: int, shown: str) -> None:
    made = "2026-01-01T00:00:00+00:00"
    now = 1000 * (1767225600 + seconds)
    assert javascript.call(FORMAT, "age", made, now) == shown
    assert javascript.call(FORMAT, "age", None, now) == ""


@given(st.lists(BYTES, max_size=50))
def test_axes_have_the_ticks_of_the_drawing(javascript: JavaScript, tops: list[int]) -> None:
    for top in tops:
        assert javascript.call(FRONT_END / "kv_bars.js", "ticks", top) == _ticks(top)
