"""The figure of a choice: a row for each step, and the number on the bar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from tiny_models import CHATML

from mullama_nb import Chat, Model, plots
from mullama_nb.engine.sampling.choice import Candidate, Choice
from mullama_nb.plots.theme import AMBER, readable

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def chat(tiny: Callable[..., Model]) -> Chat:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=256, n_threads=1, seed=1)
    chat.ask("first", max_tokens=8, temperature=1.5, repetition_penalty=1.2)
    return chat


def widths(axes: Any, row: int) -> list[tuple[float, float]]:
    """Where the named bars of a row begin, and how long they are."""
    bars = [bar for bars in axes.containers for bar in bars if round(bar.get_y() + 0.24) == row]
    return [(bar.get_x(), bar.get_width()) for bar in bars[1:]]  # behind what has no name


@pytest.mark.slow
def test_rows_are_the_steps_and_what_they_leave(chat: Chat) -> None:
    choice = chat.turns[-1].choice(3)
    before = dict(mpl.rcParams)
    figure: Any = plots.choice(choice)
    counts, bars = figure.axes
    names = [text.get_text() for text in counts.get_yticklabels()]
    assert names == ["model", *(step.name for step in choice.steps), "draw"]
    assert [text.get_text() for text in counts.texts] == [
        f"{n:,}" for n in (choice.steps[0].before, *(step.after for step in choice.steps))
    ]
    for row, step in enumerate(choice.steps, 1):
        assert [width for _, width in widths(bars, row)] == pytest.approx(
            [each.probability for each in step.candidates]
        )
    assert choice.draw is not None
    np.testing.assert_allclose(
        widths(bars, len(names) - 1),
        [(each.low, each.high - each.low) for each in choice.draw.bar],
    )
    *_, number = (line.get_xdata()[0] for line in bars.lines)
    assert number == choice.draw.number
    assert figure._repr_png_().startswith(PNG)
    assert figure.patch.get_alpha() == counts.patch.get_alpha() == bars.patch.get_alpha() == 0
    assert dict(mpl.rcParams) == before


@pytest.mark.slow
def test_the_chosen_token_has_its_colour_in_each_row(chat: Chat) -> None:
    choice = chat.turns[-1].choice(3)
    (_, bars) = plots.choice(choice).axes
    chosen = [
        bar
        for bars in bars.containers
        for bar in bars
        if bar.get_facecolor() == mpl.colors.to_rgba(AMBER)
    ]
    assert len(chosen) == len(choice.steps) + 2


def test_a_token_that_was_given_or_is_odd_can_be_drawn(chat: Chat) -> None:
    for choice in (
        chat.turns[0].choice(0),
        chat.turns[0].choice(2),
        Choice(1, "$\\frac$\n\ud83d", 3, "given", "$", (Candidate(1, "$\\frac$ 漢\0", 0.9),)),
    ):
        assert plots.choice(choice)._repr_png_().startswith(PNG)  # type: ignore[attr-defined]
    assert readable(" a\n漢") == "a··"
    assert readable("  ") == "␣"
