"""What a notebook prints of an answer: whole words, whatever tokens they come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.history.echo import Echo

WIDTH = 20
words = st.text(st.sampled_from("ab,.#"), min_size=1, max_size=30)
texts = st.lists(words | st.sampled_from([" ", "  ", "\n", "\n\n", " ", " "]), max_size=40).map(
    "".join
)


def printed(pieces: list[str]) -> str:
    out: list[str] = []
    echo = Echo(out.append, WIDTH)
    for piece in pieces:
        echo.feed(piece)
    echo.end()
    return "".join(out)


@given(st.data(), texts)
def test_lines_break_between_words_however_text_is_divided(data: st.DataObject, text: str) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    out = printed(pieces)
    assert out == printed([text])
    assert out.removesuffix("\n").replace("\n", " ") == text.replace("\n", " ") or not text
    assert out.split() == text.split()
    assert not text or out.endswith("\n")
    for line in out.splitlines():
        assert len(line.rstrip()) <= WIDTH or " " not in line.strip() or "  " in line


@given(st.text(st.sampled_from("日本語。"), max_size=60))
def test_scripts_without_blanks_break_at_the_width(text: str) -> None:
    out = printed([*text])
    assert out.replace("\n", "") == text
    assert all(2 * len(line) <= WIDTH for line in out.splitlines())


def test_code_stays_as_it_is() -> None:
    text = "Look:\n```python\nprint('longer than twenty')\n```\nand goes on behind all"
    assert printed([text[i : i + 3] for i in range(0, len(text), 3)]) == (
        "Look:\n```python\nprint('longer than twenty')\n```\nand goes on behind\nall\n"
    )


def test_a_word_is_written_once_it_is_whole() -> None:
    out: list[str] = []
    echo = Echo(out.append, WIDTH)
    for piece in ("Once", " upon", " a"):
        echo.feed(piece)
    assert "".join(out) == "Once upon"
    echo.end()
    assert "".join(out) == "Once upon a\n"
    nothing: list[str] = []
    Echo(nothing.append, WIDTH).end()
    assert nothing == []
