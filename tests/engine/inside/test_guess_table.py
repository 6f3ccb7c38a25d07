"""A table says what each layer would have said, and where the last guess settles."""

from __future__ import annotations

import io
import re

from conftest import ModelMaker
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mullama_nb import Context, ContextParams
from mullama_nb.engine.inside.guess_table import guesses_html, guesses_table, settles_at
from mullama_nb.engine.sampling.probability import TokenProbability


def guesses_of(*firsts: int, text: str = "") -> list[list[TokenProbability]]:
    return [
        [TokenProbability(n, text or f"t{n}", 0.5), TokenProbability(9, "x", 0.25)] for n in firsts
    ]


def in_terminal(table: object) -> str:
    file = io.StringIO()
    Console(file=file, width=160).print(table)
    return file.getvalue()


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12))
def test_it_settles_where_the_first_guess_stays(firsts: list[int]) -> None:
    n = settles_at(guesses_of(*firsts))
    assert set(firsts[n:]) == {firsts[-1]}
    assert n == 0 or firsts[n - 1] != firsts[-1]


def test_the_row_where_it_settles_is_marked() -> None:
    guesses = guesses_of(1, 2, 1, 1)
    shown = guesses_html(guesses, "caption")
    assert "<th>2 ◂</th><td" in shown
    assert shown.count("◂") == 1
    lines = in_terminal(guesses_table(guesses, "caption")).splitlines()
    assert [line.split()[1:3] for line in lines if "◂" in line] == [["2", "◂"]]


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(3, 12))
def test_of_many_rows_the_ends_and_the_mark_are_shown(firsts: list[int], most: int) -> None:
    guesses = guesses_of(*firsts)
    whole, some = guesses_html(guesses, ""), guesses_html(guesses, "", most=most)
    rows, shown = (re.findall("<tr><th>.*?</tr>", text)[1:] for text in (whole, some))
    assert len(shown) <= most
    assert set(shown) <= set(rows)
    assert (shown[0], shown[-1]) == (rows[0], rows[-1])
    assert sum("◂" in row for row in shown) == 1
    assert len(rows) > most or shown == rows


def test_what_a_model_says_is_no_markup() -> None:
    guesses = guesses_of(1, text="[red]<b>\x1b[31m\n")
    shown = guesses_html(guesses, "<i>")
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown + guesses_html(guesses, "<b>")
    text = in_terminal(guesses_table(guesses, "[green]x"))
    assert "[red]<b>␛[31m↵" in text
    assert "[green]x" in text


def test_a_look_is_shown_as_that_table(tiny: ModelMaker) -> None:
    context = Context(tiny("llama"), ContextParams(n_ctx=64, n_threads=1))
    context.evaluate("The tide comes in.")
    look = context.look()
    assert look._repr_html_() == guesses_html(look.guesses(), repr(look))
    assert in_terminal(look) == in_terminal(guesses_table(look.guesses(), repr(look)))
    context.close()
    assert "closed" in in_terminal(look)
