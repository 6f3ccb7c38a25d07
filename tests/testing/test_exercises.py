"""What an exercise's check says: right, or what is missing, whatever a learner wrote."""

from __future__ import annotations

import copy
import itertools
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.errors import ParameterError
from mullama_nb.testing import Verdict, check

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=4)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.frozensets(st.integers(), max_size=4)
    ),
    max_leaves=8,
)


class Odd:
    """What a learner's class may be like."""

    def __repr__(self) -> str:
        raise ValueError("no repr")

    def __eq__(self, other: object) -> bool:
        raise TypeError("not comparable")

    __hash__ = None  # type: ignore[assignment]


class OddError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def fail(_answer: object) -> bool:
    raise OddError


@pytest.mark.slow
@given(values)
def test_a_right_answer_is_right(value: Any) -> None:
    verdict = check(copy.deepcopy(value), value, because="So it is.", hint="Not shown.")
    assert verdict
    assert verdict == Verdict(True, "Right. So it is.")
    assert repr(verdict) == "Right. So it is."


@pytest.mark.slow
@given(values, values)
def test_any_answer_gets_a_verdict_in_printable_words(answer: Any, expected: Any) -> None:
    verdict = check(answer, expected, hint="Look again.")
    assert verdict.is_right in (True, False)
    assert verdict.text.startswith("Right." if verdict else "Not yet: ")
    assert len(verdict.text) < 500
    assert verdict.text.isprintable()
    assert ("Hint: Look again." in repr(verdict)) is not bool(verdict)


@given(st.integers(), st.integers())
def test_a_number_is_too_small_or_too_large(answer: int, expected: int) -> None:
    verdict = check(answer, expected)
    assert bool(verdict) is (answer == expected)
    if not verdict:
        assert ("small" if answer < expected else "large") in verdict.text


@pytest.mark.parametrize(
    ("answer", "expected", "says"),
    [
        (40, 42, "40 is too small."),
        (np.float32(0.1), 0.1, None),
        (41.5, 42, "41.5 is too small."),
        (1_000_001, 1_000_000, "1000001 is too large."),
        (True, 1, "True is a bool, and a number is asked for."),
        (1, True, "1 is neither True nor False."),
        (False, True, "False is not right."),
        (np.bool_(True), True, None),
        (None, 42, "your answer is None, and a number is asked for."),
        ("42", 42, "'42' is a str, and a number is asked for."),
        ("paris ", "Paris", "'paris ' is right except for its spaces or capitals."),
        (["Paris"], "Paris", "['Paris'] is a list, and a text is asked for."),
        ([1, 3], [1, 2], "item 1: 3 is too large."),
        ((1, 2), [1, 2], None),
        ([1], [1, 2], "it has 1, and 2 items are asked for."),
        (itertools.count(), [1], "count(0) is a count, and 1 item is asked for."),
        ([1, 1, 4], {1, 2}, "of its items, 1 missing and 1 too many."),
        ([1.0, 2.5], np.array([1.0, 2.0]), "1 of its 2 values are not right."),
        ([1.0], np.array([1.0, 2.0]), "its shape is (1,), and (2,) is asked for."),
        ({"a": 1}, {"a": 2}, "{'a': 1} is not right."),
        (Odd(), 42, "your Odd is an Odd, and a number is asked for."),
        (Odd(), b"x", "your Odd led to TypeError: not comparable"),
        (5, lambda n: n > 6, "5 is not right."),
        (7, lambda n: n > 6, None),
        (7, lambda n: "it must be even." if n % 2 else True, "it must be even."),
        (5, fail, "5 led to OddError: your OddError"),
        ("x" * 999, 1, f"'{'x' * 58}… is a str, and a number is asked for."),
    ],
)
def test_what_is_missing_is_said(answer: object, expected: object, says: str | None) -> None:
    verdict = check(answer, expected)
    assert repr(verdict) == ("Right." if says is None else f"Not yet: {says}")


@pytest.mark.parametrize("within", [0.0, 0.4, 0.6])
def test_numbers_may_be_so_far_off(within: float) -> None:
    assert bool(check(41.5, 42, within=within)) is (within > 0.5)
    assert bool(check([1.0, 41.5], np.array([1.0, 42]), within=within)) is (within > 0.5)
    assert bool(check([1.0, 41.5], [1.0, 42], within=within)) is (within > 0.5)


@pytest.mark.parametrize("answer", [..., (1, ...), [[...]], {"scale": ...}])
def test_three_dots_are_to_do(answer: object) -> None:
    verdict = check(answer, fail, hint="Begin with 1.")
    assert verdict.is_right is None
    assert not verdict
    assert repr(verdict).startswith("To do: put your answer in the place of the three dots")
    assert repr(verdict).endswith("\nHint: Begin with 1.")


@given(st.text(max_size=20), st.text(max_size=20))
def test_html_holds_the_same_words_and_no_tags_of_a_learner(answer: str, hint: str) -> None:
    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: list[str] = []
            self.text = ""

        def handle_starttag(self, tag: str, _attrs: object) -> None:
            self.tags.append(tag)

        def handle_data(self, data: str) -> None:
            self.text += data

    reader = Reader()
    verdict = check(answer, 42, hint=hint)
    reader.feed(verdict._repr_html_())
    reader.close()
    assert reader.tags == ["div", "strong", *(["details", "summary"] if hint else [])]
    told = reader.text.replace("\r\n", "\n").replace("\r", "\n")
    wanted = verdict.text + ("Hint" + hint if hint else "")
    assert told == wanted.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize(
    "wrong", [{"hint": 1}, {"because": None}, {"within": -1}, {"within": "much"}]
)
def test_a_lesson_that_is_wrong_is_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        check(1, 1, **wrong)
