"""Checks are what one writes: as a repr, in a file, in another process."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testing.suites.checks.subjects import said

from mullama_nb import testing
from mullama_nb.errors import ParameterError
from mullama_nb.testing import Check, Finding, Subject
from mullama_nb.testing.suites.checks.forms import (
    KINDS,
    as_checks,
    check_from_file,
    checks_schema,
)

TEXTS = st.text(min_size=1, max_size=40)
NUMBERS = st.floats(0, 1)


def others(text: str) -> st.SearchStrategy[str | list[str]]:
    one = TEXTS.filter(lambda other: other != text)
    return one | st.lists(one, min_size=1, max_size=3)


SCHEMAS = st.dictionaries(st.sampled_from(["title", "description"]), st.text(max_size=30))
CHECKS: st.SearchStrategy[Check] = st.one_of(
    st.builds(testing.contains, TEXTS),
    st.builds(testing.matches, st.sampled_from([r"(?i)paris", r"\A\d+\Z", "[\u202e\\s]", "a|b"])),
    st.builds(testing.json_schema, SCHEMAS),
    st.builds(testing.at_least, TEXTS, NUMBERS),
    st.builds(
        testing.kv_quality,
        st.sampled_from(["q8_0", "q4_0", ("q8_0", "f16")]),
        below=st.floats(0, 9, exclude_min=True),
        of=st.sampled_from(["question", "answer"]),
    ),
    st.builds(
        testing.same_as,
        level=st.sampled_from(["exact", "near-ties"]),
        margin=NUMBERS,
        tolerance=st.integers(0, 9),
    ),
    st.builds(
        testing.perplexity_below,
        st.floats(1, 1e6, exclude_min=True) | st.integers(2, 99),
        text=st.none() | TEXTS,
    ),
    TEXTS.flatmap(
        lambda text: st.builds(
            testing.likelier, st.just(text), than=others(text), by=st.floats(0, 100)
        )
    ),
)


@given(CHECKS)
def test_a_check_comes_back_from_its_file_its_repr_and_a_pickle(check: Check) -> None:
    form = json.loads(json.dumps(check.to_file()))
    copies = [
        check_from_file(form),
        eval(repr(check), vars(testing) | {name: getattr(testing, name) for name in KINDS}),
        pickle.loads(pickle.dumps(check)),
    ]
    for copy in copies:
        assert copy == check
        assert hash(copy) == hash(check)
        assert (copy.name, repr(copy), copy.digest) == (check.name, repr(check), check.digest)


@given(CHECKS, CHECKS)
def test_names_are_printable_short_and_tell_checks_apart(a: Check, b: Check) -> None:
    assert a.name.isprintable()
    assert len(a.name) <= 120
    assert (a == b) == (a.name == b.name) == (a.digest == b.digest)


def test_long_checks_that_differ_at_their_end_have_other_names() -> None:
    a, b = (testing.contains("x" * 500 + end) for end in "ab")
    assert a.name != b.name
    assert len(a.name) <= 120


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("contains", "one key"),
        ({}, "one key"),
        ({"contains": "a", "matches": "b"}, "one key"),
        ({"contain": "a"}, "did you mean 'contains'"),
        ({3: "a"}, "no check"),
        ({"contains": ""}, "empty"),
        ({"contains": 3}, "text must be a text, not 3"),
        ({"contains": {"text": "a", "ignore_case": True}}, "ignore_case"),
        ({"contains": None}, "not None"),
        ({"matches": "("}, "regular expression"),
        ({"matches": "a{99999999999999}"}, "regular expression"),
        ({"likelier": " Paris"}, "likelier needs than"),
        ({"likelier": {"text": " a", "than": " a"}}, "itself"),
        ({"likelier": {"text": " a", "than": []}}, "empty"),
        ({"likelier": {"text": " a", "than": 3}}, "text or several"),
        ({"likelier": {"text": " a", "than": " b", "by": -1}}, "by=-1"),
        ({"likelier": {"text": " a", "than": " b", "by": float("nan")}}, "by=nan"),
        ({"likelier": {"text": " a", "than": " b", "by": 10**400}}, "out of range"),
        ({"likelier": {"text": " a", "than": " b", "bye": 1}}, "did you mean 'by'"),
        ({"at_least": {"text": " a", "probability": 1.1}}, "0 to 1"),
        ({"at_least": {"text": " a", "probability": True}}, "number"),
        ({"at_least": {"probability": 0.5}}, "at_least needs text"),
        ({"perplexity_below": 1}, "larger"),
        ({"perplexity_below": float("inf")}, "out of range"),
        ({"kv_quality": "q9_0"}, "q9_0"),
        ({"kv_quality": {"kv_cache_type": "q8_0", "below": 0}}, "below=0"),
        ({"same_as": {"level": "alike"}}, "level='alike'"),
        ({"same_as": {"margin": 2}}, "margin=2"),
        ({"same_as": {"folder": "."}}, "folder"),
        ({"same_as": 3}, "recording must be a text"),
        ({"json_schema": {"type": "objekt"}}, "not a JSON schema"),
        ({"json_schema": "object"}, "mapping"),
    ],
)
def test_what_is_wrong_with_a_form_is_said_at_once(form: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        check_from_file(form)


@pytest.mark.slow
@given(CHECKS)
def test_the_published_schema_takes_what_is_written(check: Check) -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(checks_schema())
    Draft202012Validator(checks_schema()).validate(check.to_file())


def is_short(text: str) -> bool:
    return len(text) < 20


def test_a_case_takes_checks_and_functions() -> None:
    contains = testing.contains("a")
    assert as_checks(contains) == (contains,)
    one, two = as_checks([contains, is_short])
    assert one is contains
    assert (two.name, two.needs_answer) == ("is_short", True)
    assert pickle.loads(pickle.dumps(two)) == two
    with pytest.raises(ParameterError, match="Python"):
        two.to_file()


@dataclass(frozen=True)
class Speaks(Check):
    """A check of one's own."""

    language: str
    least: float = 0.5

    def judge(self, subject: Subject) -> Finding:
        """Judge a made-up share."""
        return Finding(self.name, len(subject.text) > self.least, "it speaks")


def test_a_check_of_ones_own_is_a_dataclass() -> None:
    check = Speaks("fr", 0.25)
    assert check.name == repr(check) == "Speaks(language='fr', least=0.25)"
    assert (check.needs_answer, as_checks([check])) == (True, (check,))
    assert check.digest != Speaks("fr").digest
    assert check.judge(said("a")).passed
    with pytest.raises(ParameterError, match="cannot stand in a file"):
        check.to_file()


def test_functions_of_one_name_are_told_apart_by_their_order() -> None:
    first, second, third = as_checks([lambda text: not text, lambda text: bool(text), len])
    assert second.name == f"{first.name} 2"
    assert third.name == "len"


@pytest.mark.parametrize("given", ["Paris", ["Paris"], {"contains": "a"}, None, 3, [testing.Check]])
def test_anything_else_is_refused(given: object) -> None:
    with pytest.raises(ParameterError, match=r"a check is|checks are"):
        as_checks(given)


def test_the_same_check_twice_is_refused() -> None:
    with pytest.raises(ParameterError, match="twice"):
        as_checks([testing.contains("a"), testing.contains("a")])
