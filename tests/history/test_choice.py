"""How a token was chosen: every recorded token, named again by the code that drew it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mullama_nb import Chat, Turn
from mullama_nb.engine.choice import Choice
from mullama_nb.errors import ParameterError

ChatMaker = Callable[..., Chat]

WIDE: dict[str, Any] = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
VARIETY: dict[str, dict[str, Any]] = {
    "as usual": {},
    "greedy": {"temperature": 0},
    "greedy, penalties": {"temperature": 0, "repetition_penalty": 1.3},
    "greedy, grammar": {"temperature": 0, "grammar": "root ::= [a-z ]+"},
    "no samplers": {"samplers": []},
    "order": {"samplers": ["temperature", "min_p", "top_k"], "temperature": 1.7},
    "biases": {"logit_bias": {30: 5.0, 31: "-inf"}, "frequency_penalty": 0.5},
    "penalties": {"repetition_penalty": 1.2, "presence_penalty": 0.4, "penalty_window": -1},
    "dry": {"dry_multiplier": 0.8, "dry_window": -1, "dry_allowed_length": 1},
    "xtc": {"xtc_probability": 0.5, "xtc_threshold": 0.01, **WIDE},
    "xtc first": {
        "samplers": ["xtc", "dry"],
        "xtc_probability": 0.9,
        "xtc_threshold": 0.0,
        "dry_multiplier": 1,
        **WIDE,
    },
    "sigma": {"top_n_sigma": 1.0, **WIDE},
    "dynamic": {"temperature": 0.6, "dynamic_temperature_range": 1.0},
    "typical": {"typical_p": 0.8, "top_k": 0},
    "mirostat 1": {"mirostat": 1, "mirostat_eta": 0.4},
    "mirostat 2": {"mirostat": 2, "mirostat_tau": 3.0},
    "mirostat without surprise": {"mirostat": 2, "mirostat_tau": 0.0, "mirostat_eta": 1.0},
    "adaptive-p": {"adaptive_p_target": 0.3},
    "adaptive-p, xtc": {
        "adaptive_p_target": 0.02,
        "xtc_probability": 0.5,
        "xtc_threshold": 0.01,
    },
    "grammar": {"grammar": "root ::= [a-z ]+"},
    "grammar, xtc": {
        "grammar": "root ::= [a-z ]+",
        "xtc_probability": 0.5,
        "xtc_threshold": 0.01,
    },
}


def choices(turn: Turn) -> Iterator[Choice]:
    """How each token of an answer was chosen, checked."""
    for index, token in enumerate(turn.tokens):
        choice = turn.choice(index)
        assert choice.token == token
        check(choice)
        yield choice


def check(choice: Choice) -> None:
    """Check a choice of a token that was drawn, or was the likeliest."""
    assert "from these logits" not in choice.note, choice
    assert choice.how in ("drawn", "likeliest"), choice
    n = None
    for step in choice.steps:
        assert n is None or step.before == n
        assert step.after <= step.before
        assert 0 < len(step.candidates) == min(40, step.after)
        assert len(step.removed) == min(40, step.before - step.after)
        n = step.after
        assert sum(each.probability for each in step.candidates) < 1 + 1e-6
        values = [each.probability for each in step.candidates]
        assert values == sorted(values, reverse=True)
        assert not {c.token for c in step.candidates} & {c.token for c in step.removed}
    if choice.how == "likeliest":
        assert choice.draw is None
        last = choice.steps[-1].candidates if choice.steps else choice.model
        assert choice.token in [each.token for each in last]
        return
    draw = choice.draw
    assert draw is not None
    assert draw.low <= draw.number < draw.high
    (own,) = (each for each in draw.bar if each.token == choice.token)
    assert (own.low, own.high, own.text) == (draw.low, draw.high, choice.text)
    candidates = choice.steps[-1].candidates if choice.steps else choice.model
    by_token = {each.token: each.probability for each in candidates}
    for stretch in draw.bar:
        if stretch.token in by_token and choice.steps[-1:] != ():
            width = stretch.high - stretch.low
            assert math.isclose(width, by_token[stretch.token], abs_tol=1e-5)


@pytest.mark.parametrize("how", VARIETY)
def test_each_token_is_named_again(new_chat: ChatMaker, how: str) -> None:
    chat = new_chat(seed=7)
    turn = chat.ask("hello there", max_tokens=24, **VARIETY[how])
    assert turn.tokens
    found = list(choices(turn))
    assert {step.name for choice in found for step in choice.steps} <= {
        *VARIETY[how].get("samplers", ()),
        *("penalties", "dry", "top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc"),
        *("temperature", "logit_bias", "grammar", "mirostat", "adaptive_p"),
    }


def test_the_next_ordinal_is_what_another_answer_draws(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=3, xtc_probability=0.5, xtc_threshold=0.01)
    first = chat.ask("hello there", max_tokens=8)
    second = chat.regenerate(max_tokens=8)
    draw = first.choice(0).draw
    assert draw is not None
    assert (draw.next_token, draw.next_number) == (
        second.tokens[0],
        second.choice(0).draw.number,  # type: ignore[union-attr]
    )


def test_what_was_not_chosen_says_so(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=3)
    turn = chat.ask("hello there", max_tokens=8)
    question = chat.turns[0]
    assert question.choice(0).how == "given"
    assert question.choice(0).model == ()
    asked = question.choice(-1)
    assert (asked.how, asked.steps, asked.draw) == ("given", (), None)
    assert "user" in asked.note
    assert asked.model
    forked = chat.fork(turn, token=3, choose=turn.tokens[3] + 1, max_tokens=3)
    assert [choice.how for choice in map(forked.choice, range(7))] == [
        *["drawn"] * 3,
        "given",
        *["drawn"] * 3,
    ]
    assert "by hand" in forked.choice(3).note
    with pytest.raises(ParameterError, match="token=7"):
        forked.choice(7)


def test_it_is_shown_without_what_a_model_could_put_into_a_page(new_chat: ChatMaker) -> None:
    choice = new_chat(seed=7).ask("hello there", max_tokens=2, **VARIETY["biases"]).choice(1)
    page = choice._repr_html_()
    assert "logit_bias" in page
    hostile = Choice(1, "<img src=x>", 3, "drawn", "<b>")
    assert "<img" not in hostile._repr_html_()
    assert "<b>" not in hostile._repr_html_()
    assert repr(hostile) == "Choice('<img src=x>' was drawn; <b>)"
