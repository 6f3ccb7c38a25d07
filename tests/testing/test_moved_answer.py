"""Strips of answers that moved: whatever their tokens are, one is red and none is markup."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.testing.moved_answer import MovedAnswer, strips

pieces = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=8)


@given(pieces, pieces, pieces, st.none() | st.floats(0, 1))
def test_any_answers_are_shown(
    same: list[str], was: list[str], now: list[str], probability: float | None
) -> None:
    answer = MovedAnswer(
        "1234567 assistant <script>",
        len(same),
        0,
        (*same, *was),
        (*same, *now),
        probability if was else None,
        None,
    )
    markup = strips([answer])
    without_tags = re.sub(
        r"</?(?:div|table|tr|td|b|span)(?: (?:style|title)=([\"']).*?\1)*>", "", markup
    )
    assert not re.search("[<>]", without_tags)
    assert markup.count("<b ") == 2
    assert str(answer).startswith("answer 1234567 assistant")
    assert len(str(answer)) < 700
    for side in (was, now):
        assert side or "the end" in str(answer)
