"""Where two messages diverge, with every architecture and wherever the head is."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY
from tiny_models import CHATML

from mullama_nb import Chat, Turn


@pytest.fixture(params=EVERY)
def chat(tiny: ModelMaker, request: pytest.FixtureRequest) -> Chat:
    model = tiny(request.param, chat_template=CHATML)
    return Chat(model, n_ctx=512, n_threads=1, n_threads_batch=1, seed=1, max_tokens=6)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["one", "two", "elsewhere"])
def test_answers_that_begin_alike_have_the_probability_of_the_time(chat: Chat, head: str) -> None:
    one = chat.ask("first", temperature=0)
    assert one.tokens[3] not in one.tokens[:3]
    two = chat.regenerate(temperature=0, logit_bias={one.tokens[3]: "-inf"})
    assert two.tokens[:3] == one.tokens[:3]
    if head == "one":
        chat.checkout(one)
    elif head == "elsewhere":
        chat.edit("other")
    place, logits = chat.head, chat.context.logits
    for a, b in ((one, two), (two, one)):
        found = chat.compare(a, b)
        probability = found.a_probability if a is one else found.b_probability
        assert probability is not None
        assert np.log(probability) == pytest.approx(one.logprobs[3], abs=1e-6)
        assert (found.a_token, found.b_token) == (a.tokens[3], b.tokens[3])
    assert chat.head is place
    np.testing.assert_array_equal(chat.context.logits, logits)


@pytest.mark.slow
def test_questions_are_compared_by_their_tokens(chat: Chat) -> None:
    one = _question(chat, chat.ask("first"))
    two = _question(chat, chat.edit("fist"))
    chat.edit("other")
    found = chat.compare(one, two)
    index = found.position - one.checkpoint.start
    assert 0 < index < len(one.tokens)
    assert found.a_probability is not None
    assert -np.log(found.a_probability) == pytest.approx(one.surprisal[index], abs=0.02)


def _question(chat: Chat, answer: Turn) -> Turn:
    return next(turn for turn in chat.turns if turn.checkpoint is answer.checkpoint.parent)
