"""Numbers of bytes are said in one way: three digits, and a unit that fits."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.size import size

_POWERS = {"B": 0, "kB": 1, "MB": 2, "GB": 3, "TB": 4}


@pytest.mark.parametrize(
    ("n_bytes", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.5, "1 kB"),
        (12_250, "12.3 kB"),
        (23_040, "23 kB"),
        (999_600, "1 MB"),
        (1_234_567, "1.23 MB"),
        (1_000_500_000, "1 GB"),
        (5e9, "5 GB"),
        (1_234_567 * 10**9, "1,230 TB"),
    ],
)
def test_a_size_is_said_in_three_digits(n_bytes: float, shown: str) -> None:
    assert size(n_bytes) == shown


@given(st.integers(0, 2**60))
def test_what_is_said_is_near_what_there_is(n_bytes: int) -> None:
    figure, unit = re.fullmatch(r"([\d,]+(?:\.\d*[1-9])?) (\w+)", size(n_bytes)).groups()  # type: ignore[union-attr]
    said = float(figure.replace(",", "")) * 1000 ** _POWERS[unit]
    assert abs(said - n_bytes) <= 0.005 * n_bytes
    assert figure[0] != "0" or n_bytes == 0
    assert unit == "TB" or "," not in figure
