"""Options of magics: what is written as a Python literal arrives as it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from IPython.core.error import UsageError

from mullama_nb.magics.words import read_options, split_words

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.binary(max_size=20),
)
LITERALS = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=9), inner, max_size=4),
    ),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(["stop", "a", "json_schema", "x_1"]), LITERALS))
@example({"stop": "\n", "a": "a b", "json_schema": {"type": "object"}, "x_1": 'it\'s "so" \\'})
def test_every_literal_arrives_as_it_was_written(values: dict[str, Any]) -> None:
    line = "  ".join(f"{name}={value!r}" for name, value in values.items())
    assert read_options(split_words(line)) == values


@pytest.mark.slow
@given(st.lists(LITERALS, min_size=1, max_size=3), st.sampled_from(["smollm2", "'a b.gguf'"]))
def test_words_in_front_are_those_of_a_shell(values: list[Any], name: str) -> None:
    line = " ".join([name, *(f"v{i}={value!r}" for i, value in enumerate(values))])
    first, *rest = split_words(line)
    assert first == name.strip("'")
    assert [*read_options(rest).values()] == values


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (r"stop='\n'", {"stop": "\n"}),
        ('stop="a b" seed=3', {"stop": "a b", "seed": 3}),
        ("""json_schema={"type": "object"}""", {"json_schema": {"type": "object"}}),
        ("stop=['a', 'b c'] temperature=0", {"stop": ["a", "b c"], "temperature": 0}),
        ("kv_cache_type=q8_0 system=brief", {"kv_cache_type": "q8_0", "system": "brief"}),
        ("system=don\\'t", {"system": "don't"}),
    ],
)
def test_what_people_write(line: str, values: dict[str, Any]) -> None:
    assert read_options(split_words(line)) == values


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('json_schema={"type": object}', r"json_schema=.* cannot be read.* Python literal"),
        ("stop=[1, 2", r"stop=\[1.* cannot be read.* Python literal"),
        ("stop='a", "cannot be read"),
        ("seed=1 seed=2", "seed is given twice"),
        ("brief", "'brief' is not an option"),
        ("7=3", "not an option"),
    ],
)
def test_what_cannot_be_read_is_named(line: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_options(split_words(line))
