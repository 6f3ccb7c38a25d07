"""Alternatives to tokens, with every architecture and wherever the head is."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY
from tiny_models import CHATML

from mullama_nb import Chat
from mullama_nb.errors import ParameterError


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY)
def test_alternatives_have_the_probabilities_of_the_time(
    tiny: ModelMaker, architecture: str
) -> None:
    model = tiny(architecture, chat_template=CHATML)
    chat = Chat(model, n_ctx=512, n_threads=1, n_threads_batch=1, seed=1, max_tokens=6)
    explored = chat.explore("first", n=3, temperature=1.0)
    explored[0].keep()
    answers = [*explored, chat.ask("second", temperature=1.0)]
    head = chat.head
    chat.edit("other")
    for place in (chat.head, head):
        chat.checkout(place)
        for answer in answers:
            for token in (0, 2, -1):
                found = {each.id: each.probability for each in answer.alternatives(token, k=512)}
                expected = np.exp(answer.logprobs[token])
                assert found[answer.tokens[token]] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY)
def test_a_question_has_alternatives_too(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture, chat_template=CHATML)
    chat = Chat(model, n_ctx=512, n_threads=1, n_threads_batch=1, seed=1, max_tokens=6)
    chat.ask("first")
    chat.ask("second")
    logits, question = chat.context.logits, chat.turns[2]
    for token in (0, 1, -1):
        found = {each.id: each.probability for each in question.alternatives(token, k=512)}
        surprisal = -np.log(found[question.tokens[token]])
        assert surprisal == pytest.approx(question.surprisal[token], abs=0.02)
    np.testing.assert_array_equal(chat.context.logits, logits)
    with pytest.raises(ParameterError, match="very first"):
        chat.turns[0].alternatives(0)
