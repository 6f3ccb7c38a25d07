"""Any language's letters make a name, and no name leads out of its folder."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mullama_nb.errors import ParameterError
from mullama_nb.sessions.names import check_name

ALLOWED_PUNCTUATION = " -_.,@+=()[]'#"


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "alice",
        "turn-12",
        "alice@example.com",
        "Grüße aus Köln",
        "北京 2024",
        "ελληνικά",
        "हिन्दी",
        "שלום",
        "ไทย",
        "it's (really) [fine] #1, a+b=c",
        "v1.2_final.session",
        "-rf",
        "con man",
        "x" * 200,
        "北" * 66,
    ],
)
def test_names_that_people_give(name: str) -> None:
    assert check_name(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "...",
        "../a",
        "a/b",
        "a/../b",
        "/etc/passwd",
        "a\\b",
        "C:a",
        "~root",
        "a\0b",
        "a\nb",
        "a\rb",
        "a\tb",
        "\x1b[31m",
        "a\x7f",
        "a\u202eb",  # right to left from here on
        "a\u200bb",  # of no width
        "\ufeffa",
        "a\u2028b",
        "\ud800",
        "a*",
        "a?",
        "a|b",
        "<a>",
        'a"b',
        "$HOME",
        "%TEMP%",
        "`id`",
        "a;b",
        "a&b",
        "\N{GRINNING FACE}",
        ".hidden",
        " a",
        "a ",
        "a.",
        "CON",
        "con",
        "Nul.txt",
        "com1",
        "LPT9.session",
        "aux ",
        "x" * 201,
        "北" * 67,
    ],
)
def test_names_that_could_lead_elsewhere_or_look_like_others(name: str) -> None:
    with pytest.raises(ParameterError):
        check_name(name)


@pytest.mark.parametrize("name", [None, 3, b"a", ["a"]])
def test_what_is_no_text_is_no_name(name: object) -> None:
    with pytest.raises(ParameterError, match="must be a text"):
        check_name(name)  # type: ignore[arg-type]


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(ParameterError, match=r"'a/b' holds '/': use letters, digits"):
        check_name("a/b")
    with pytest.raises(ParameterError, match="takes 201 bytes; at most 200"):
        check_name("x" * 201)
    with pytest.raises(ParameterError, match="begins or ends with a dot or a space"):
        check_name(".a")
    with pytest.raises(ParameterError, match="a device on Windows"):
        check_name("NUL")


@pytest.mark.parametrize(
    ("composed", "decomposed"),
    [("é", "e\u0301"), ("Å", "A\u030a"), ("한", "\u1112\u1161\u11ab"), ("K", "\u212a")],
)
def test_equal_looks_are_equal_names(composed: str, decomposed: str) -> None:
    assert composed != decomposed
    assert check_name(composed) == check_name(decomposed) == composed


@given(st.text(min_size=1, max_size=80))
@example("a" + "\u0344" * 30)  # normal form C makes it longer
def test_what_is_allowed_is_a_plain_file_name(name: str) -> None:
    try:
        stored = check_name(name)
    except ParameterError:
        return
    assert stored == unicodedata.normalize("NFC", stored) == check_name(stored)
    assert 0 < len(stored.encode()) <= 200
    assert stored.strip(". ") == stored
    for character in stored:
        kind = unicodedata.category(character)[0]
        assert kind in "LMN" or character in ALLOWED_PUNCTUATION
