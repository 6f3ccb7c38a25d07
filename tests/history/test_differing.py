"""The words of an answer that another does not have are marked; nothing else changes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.history.differing import mark_differing, words_of

WORD = st.sampled_from(["the", "tide", "turns", "&amp;", ".", "\u6f6e", "é1", "-"])
SPACE = st.sampled_from([" ", "  ", "\n"])
TEXT = st.lists(st.tuples(WORD, SPACE)).map(lambda pairs: "".join(a + b for a, b in pairs))
PIECES = st.lists(st.one_of(TEXT, st.text(alphabet=st.characters(exclude_characters="[]"))))


def in_brackets(words: str) -> str:
    return f"[{words}]"


@pytest.mark.slow
@given(PIECES, PIECES)
def test_marks_are_around_what_differs_and_change_no_text(
    first: list[str], pieces: list[str]
) -> None:
    marked = mark_differing(first, pieces, in_brackets)
    assert [re.sub(r"[][]", "", piece) for piece in marked] == pieces
    kept = words_of(" ".join(re.sub(r"\[[^]]*\]", " ", piece) for piece in marked))
    said = iter(word for piece in first for word in words_of(piece))
    assert all(word in said for word in kept)  # in the order of the other text


@given(PIECES)
def test_what_is_the_same_has_no_marks(pieces: list[str]) -> None:
    assert mark_differing(pieces, pieces, in_brackets) == pieces


@pytest.mark.parametrize(
    ("first", "text", "marked"),
    [
        ("Red, the boat.", "Blue, the big boat.", "[Blue], the [big] boat."),
        ("a &lt;b&gt; c", "a &lt;c&gt; c", "a &lt;[c]&gt; c"),
        ("\u7ea2\u8272\u7684\u8239", "\u84dd\u8272\u7684\u8239", "[\u84dd]\u8272\u7684\u8239"),
        ("", "two words", "[two words]"),
        ("one", "", ""),
    ],
)
def test_words_and_signs_are_compared(first: str, text: str, marked: str) -> None:
    assert mark_differing([first], [text], in_brackets) == [marked]


def test_long_answers_are_compared_in_time_that_grows_with_their_length() -> None:
    text = " ".join(f"the {n}" for n in range(20_000))
    [marked] = mark_differing([text], [text.replace(" 77 ", " 78 ")], in_brackets)
    assert marked.count("[") <= 2
