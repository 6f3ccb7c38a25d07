"""What callers give is checked in one place, and in one way."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mullama_nb
from mullama_nb.checks import (
    check_bool,
    check_integer,
    check_names,
    check_number,
    close_names,
    did_you_mean,
    is_integer,
    is_number,
)
from mullama_nb.errors import ParameterError

NO_NUMBERS: list[Any] = [None, True, False, "1", [1], 1j, np.bool_(True), np.complex64(1)]
INTEGERS = [np.int8, np.uint8, np.int32, np.int64, np.uint64]
FLOATS = [np.float16, np.float32, np.float64]


@given(value=st.integers(), low=st.none() | st.integers(), high=st.none() | st.integers())
def test_integers_lie_between_the_bounds(value: int, low: int | None, high: int | None) -> None:
    fits = (low is None or low <= value) and (high is None or value <= high)
    if fits:
        assert check_integer("n", value, low, high) == value
        return
    with pytest.raises(ParameterError) as caught:
        check_integer("n", value, low, high)
    text = str(caught.value)
    assert text.startswith("n=")
    assert all(f"{bound}" in text for bound in (low, high) if bound is not None)


@given(value=st.floats(), low=st.none() | st.floats(allow_nan=False))
def test_numbers_lie_between_the_bounds(value: float, low: float | None) -> None:
    fits = low is None or low <= value
    if fits:
        check_number("x", value, low)
    else:
        with pytest.raises(ParameterError, match=r"^x=.* must be .* or more$"):
            check_number("x", value, low)


def test_no_number_lies_between_two_bounds_that_is_none() -> None:
    with pytest.raises(ParameterError, match="x=nan is out of range"):
        check_number("x", math.nan, 0.0, 1.0)


@given(kind=st.sampled_from([*INTEGERS, *FLOATS]), value=st.integers(0, 100))
def test_numpys_numbers_become_pythons(kind: Callable[[int], Any], value: int) -> None:
    assert is_integer(kind(value)) is (kind in INTEGERS)
    number = check_number("x", kind(value), 0, 100)
    assert (type(number), number) == (int if kind in INTEGERS else float, value)
    if kind in INTEGERS:
        integer = check_integer("n", kind(value), 0, 100)
        assert (type(integer), integer) == (int, value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 1.0, np.float32(1)], ids=repr)
def test_what_is_no_integer_is_named(value: Any) -> None:
    assert not is_integer(value)
    with pytest.raises(ParameterError) as caught:
        check_integer("n", value, 0)
    assert str(caught.value) == f"n must be an integer, not {value!r}"


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_named(value: Any) -> None:
    assert not is_number(value)
    with pytest.raises(ParameterError, match="x must be a number, not"):
        check_number("x", value)


@pytest.mark.parametrize("value", [0, 1, None, "yes", np.bool_(True)], ids=repr)
def test_what_is_no_bool_is_named(value: Any) -> None:
    check_bool("exact", True)
    with pytest.raises(ParameterError) as caught:
        check_bool("exact", value)
    assert str(caught.value) == f"exact must be a bool, not {value!r}"


def test_a_strangers_value_is_cut_short_and_printable() -> None:
    with pytest.raises(ParameterError) as caught:
        check_integer("n", "\x1b[31m" + "a" * 10**6)
    assert len(str(caught.value)) < 100
    assert str(caught.value).isprintable()
    with pytest.raises(ParameterError, match=r"^n=a int must be 0 or more$"):
        check_integer("n", -(10**5000), 0)


def test_unknown_names_are_named_with_what_was_meant() -> None:
    check_names("a cat", ["colour"], ["name", "colour"])
    with pytest.raises(TypeError) as caught:
        check_names("a cat", ["color", "wheels"], (name for name in ("name", "colour")))
    assert str(caught.value) == (
        "a cat has no 'color' (did you mean 'colour'?), 'wheels'; it has name, colour"
    )


def test_close_names_come_the_closest_first() -> None:
    assert close_names("topk", ["top_p", "top_k", "seed"]) == ["top_k", "top_p"]
    assert close_names("topk", {"top_p": 1, "top_k": 2}, 1) == ["top_k"]
    assert did_you_mean("topk", ["top_p", "top_k"]) == "did you mean 'top_k'?"
    assert did_you_mean("zebra", ["top_p", "top_k"]) == ""


@pytest.mark.parametrize(
    ("what", "places"),
    [
        (r"difflib\.get_close_matches", {"checks.py"}),
        # A page of its own, whose fields are links that open panels.
        (r"<t(able|r|d|h)\b", {"tables.py", "testing/suites/page/writing.py"}),
        (r"bool\) or not isinstance|not isinstance\(\w+, bool\)", {"checks.py"}),
    ],
)
def test_nothing_is_checked_or_drawn_by_hand(what: str, places: set[str]) -> None:
    package = Path(mullama_nb.__file__).parent
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(what, path.read_text(encoding="utf-8"))
    }
    assert found == places
