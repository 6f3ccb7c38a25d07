"""The bars are the steps of the sampler chain, and the number falls on the token it drew."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import ModelMaker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import CHATML

from mullama_nb import Chat
from mullama_nb.engine.sampling.choice import Candidate, Choice, ChoiceStep, Draw, Stretch
from mullama_nb.widgets.funnel import draw_funnel, funnel_message, lay_out_funnel, told

SETTINGS = st.fixed_dictionaries(
    {"temperature": st.sampled_from([0.0, 0.7, 1.5])},
    optional={
        "top_k": st.integers(1, 60),
        "top_p": st.floats(0.2, 1.0),
        "min_p": st.floats(0.0, 0.3),
        "typical_p": st.floats(0.3, 1.0),
        "xtc_probability": st.floats(0.1, 1.0),
        "xtc_threshold": st.floats(0.001, 0.4),
        "repetition_penalty": st.floats(1.0, 1.6),
        "dry_multiplier": st.floats(0.1, 1.0),
        "seed": st.integers(0, 99),
    },
)


@pytest.fixture(scope="module")
def chat(tiny: ModelMaker) -> Chat:
    return Chat(tiny("llama", chat_template=CHATML), n_ctx=256, n_threads=1, n_threads_batch=1)


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=SETTINGS)
def test_bars_are_the_steps_for_any_sampling(chat: Chat, options: dict[str, Any]) -> None:
    if options["temperature"] == 0:
        options.pop("xtc_probability", None)  # which would do nothing
    turn = chat.ask("Hi", max_tokens=4, echo=False, **options)
    for index in range(len(turn.tokens)):
        check(turn.choice(index))
    chat.tree.prune(chat.turns[0].checkpoint, force=True)


def check(choice: Choice) -> None:
    bars = lay_out_funnel(choice)
    steps = [None, *choice.steps, *([None] if choice.draw else [])]
    assert len(bars) == len(steps)
    for i, (bar, step) in enumerate(zip(bars, steps, strict=True)):
        places = [x for each in bar.segments for x in (each.low, each.high)]
        assert places == sorted(places)
        assert all(0 <= x <= 1 for x in places)
        if step is not None:
            assert (bar.n_before, bar.n) == (step.before, step.after)
            assert [each.token for each in bar.segments] == [c.token for c in step.candidates]
            gone = {each.token for each in step.removed}
            above = bars[i - 1].segments
            assert all(each.is_kept == (each.token not in gone) for each in above)
        for each in bar.segments:
            if each.above >= 0:
                assert bars[i - 1].segments[each.above].token == each.token
    message = funnel_message(choice)
    json.dumps(message)
    assert [bar[0] for bar in message["bars"]] == [bar.title for bar in bars]
    if choice.draw is not None:
        [mine] = [each for each in bars[-1].segments if each.token == choice.token]
        assert mine.low <= choice.draw.number < mine.high
    ElementTree.fromstring(draw_funnel(choice))


def made(texts: list[str]) -> Choice:
    n = len(texts)
    candidates = tuple(Candidate(i, text, 1 / n) for i, text in enumerate(texts))
    half = max(n // 2, 1)
    step = ChoiceStep("top_k", "the likeliest", n, half, candidates[:half], candidates[half:])
    bar = tuple(Stretch(i, text, i / half, (i + 1) / half) for i, text in enumerate(texts[:half]))
    draw = Draw(0.0, 0.0, 1 / half, 0.5, 0, texts[0], bar)
    return Choice(0, texts[0], 7, "drawn", "", candidates, (step,), draw)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=12))
def test_the_picture_is_well_formed_whatever_tokens_are(texts: list[str]) -> None:
    choice = made(texts)
    root = ElementTree.fromstring(draw_funnel(choice))
    kinds = {each.tag.rpartition("}")[2] for each in root.iter()}
    assert kinds <= {"svg", "g", "title", "rect", "polygon", "text", "tspan", "path"}
    for bar in funnel_message(choice)["bars"]:
        assert all(segment[1].isprintable() and segment[1] for segment in bar[4])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("drawn", "was drawn: note"),
        ("likeliest", "is the likeliest; no number was drawn: note"),
        ("forced", "was forced: note"),
        ("given", "was given, not chosen by the model: note"),
    ],
)
def test_says_how_a_token_came_about(how: Any, words: str) -> None:
    assert told(Choice(1, "\n", 3, how, "note")) == ("↵", words)
    assert lay_out_funnel(Choice(1, "\n", 3, how)) == []  # nothing lies in front
