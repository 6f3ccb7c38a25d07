"""Whatever a token is, its signs are one line that can be read and that moves nothing else."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.signs import signs


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" river", "␣river"),
        ("\n\n", "↵↵"),
        ("a\tb\r", "a⇥b␍"),
        ("\x00\x1b[31m", "␀␛[31m"),
        ("\x7f\x85", "␡⟨0085⟩"),
        ("‮evil", "⟨202E⟩evil"),
        ("\ufeff\u200b", "⟨FEFF⟩⟨200B⟩"),
        ("a\u00a0b\u3000", "a⟨00A0⟩b⟨3000⟩"),
        ("\u2028", "⟨2028⟩"),
        ("\u0301", "◌\u0301"),
        ("e\u0301", "e\u0301"),
        ("\U000e0041", "⟨E0041⟩"),
        ("\ud800", "⟨D800⟩"),
        ("שלום", "שלום"),
        ("<b>&", "<b>&"),
        ("", ""),
    ],
)
def test_what_is_not_seen_has_a_sign(text: str, shown: str) -> None:
    assert signs(text) == shown


def test_spaces_between_words_may_stay() -> None:
    assert signs(" a\nb ", spaces=False) == " a↵b "


@given(st.text(st.characters(), max_size=60), st.booleans())
def test_signs_are_printed_in_one_line(text: str, spaces: bool) -> None:
    shown = signs(text, spaces=spaces)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert (" " in shown) == (not spaces and " " in text)
    assert not any(unicodedata.bidirectional(c) in {"RLO", "LRO", "RLE", "LRE"} for c in shown)
    assert bool(shown) == bool(text)


@given(st.text(max_size=60), st.integers(1, 20))
def test_long_ones_are_cut(text: str, most: int) -> None:
    shown, whole = signs(text, most=most), signs(text)
    assert len(shown) <= most
    assert shown == whole or (shown[-1] == "…" and whole.startswith(shown[:-1]))
