"""How surprising tokens were: as noted, or evaluated beside the context."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from tiny_models import CHATML

from mullama_nb import Chat, Context, Turn
from mullama_nb.engine.sampling.sampler import log_probability
from mullama_nb.errors import ParameterError

EVERY = ["llama", "qwen2vl", "gemma3", "gemma2", "mamba", "mamba2", "lfm2", "jamba", "lfm2swa"]
# With these, batches of different sizes differ by rounding in single precision only.
PRECISE: dict[str, Any] = {"kv_cache_type": "f32", "flash_attention": False}

every = pytest.mark.parametrize("architecture", EVERY)


def chat_of(tiny: ModelMaker, architecture: str, **options: Any) -> Chat:
    defaults = {"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1, "seed": 1}
    return Chat(tiny(architecture, chat_template=CHATML), **(defaults | options))


def exactly(turn: Turn) -> tuple[list[float], list[float]]:
    """Surprisal and entropy of each token, from the logits before it, one by one."""
    surprisal, entropy = [math.nan], [math.nan]
    path = turn.chat.tree.tokens(turn.checkpoint)
    with Context(turn.chat.model, turn.chat.context.params) as context:
        context.evaluate(path[:1])
        for token in path[1:]:
            logits = context.logits.astype(np.float64)
            logs = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
            surprisal.append(-logs[token])
            entropy.append(-(np.exp(logs) * logs).sum())
            context.evaluate([token])
    n = len(turn.tokens)
    return surprisal[-n:], entropy[-n:]


@pytest.mark.slow
@every
def test_every_message_is_measured(tiny: ModelMaker, architecture: str) -> None:
    chat = chat_of(tiny, architecture, **PRECISE)
    answer = chat.ask("first", max_tokens=6, temperature=1.0)
    other = chat.regenerate(max_tokens=6, temperature=1.0)
    chat.checkout(answer)
    chat.ask("second", max_tokens=6)
    head = chat.head
    rows, logits = chat.context.capture().data, chat.context.logits
    for turn in [*chat.turns, other]:
        surprisal, entropy = exactly(turn)
        assert turn.surprisal.dtype == turn.entropy.dtype == np.float32
        np.testing.assert_allclose(turn.surprisal, surprisal, atol=0.01)
        np.testing.assert_allclose(turn.entropy, entropy, atol=0.01)
        mean = np.nanmean(np.array(surprisal[1:4]))
        assert turn.perplexity(1, 4) == pytest.approx(math.exp(mean), rel=0.02)
    assert chat.head is head
    np.testing.assert_array_equal(chat.context.capture().data, rows)
    np.testing.assert_array_equal(chat.context.logits, logits)


def test_generated_tokens_are_as_surprising_as_noted(chat: Chat) -> None:
    chat.ask("first", max_tokens=3)
    turn = chat.resume(max_tokens=3)
    np.testing.assert_array_equal(turn.surprisal, -np.array(turn.logprobs, np.float32))
    with np.errstate(over="raise"):
        assert turn.perplexity() == pytest.approx(math.exp(-np.mean(turn.logprobs)), rel=1e-6)
    begun = chat.ask(
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "It is"}], max_tokens=2
    )
    assert len(begun.surprisal) == len(begun.tokens) > len(begun.logprobs)
    np.testing.assert_array_equal(begun.surprisal[-2:], -np.array(begun.logprobs, np.float32))


def test_what_was_measured_once_is_known(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = chat.ask("first", max_tokens=6)
    question = chat.turns[0]
    entropy, surprisal = turn.entropy, question.surprisal
    with monkeypatch.context() as patched:
        patched.setattr(chat.context, "score_held", None)
        np.testing.assert_array_equal(turn.entropy, entropy)
        np.testing.assert_array_equal(question.surprisal, surprisal)
    surprisal[:] = 0  # a copy
    assert question.surprisal[1:].any()
    chat.fork(turn, token=3, max_tokens=1)  # cuts it in two
    np.testing.assert_allclose(turn.entropy, entropy, atol=0.05)
    assert turn.entropy.shape == (6,)


def test_the_first_token_of_all_has_no_surprisal(chat: Chat) -> None:
    chat.ask("first", max_tokens=2)
    question = chat.turns[0]
    assert np.isnan(question.surprisal[0])
    assert np.isnan(question.entropy[0])
    assert not np.isnan(question.surprisal[1:]).any()
    assert question.perplexity() == question.perplexity(1)
    with pytest.raises(ParameterError, match="very first"):
        question.perplexity(0, 1)


@pytest.mark.parametrize("span", [(3, 3), (9, None), (2, 1)])
def test_an_empty_span_has_no_perplexity(chat: Chat, span: tuple[int, int | None]) -> None:
    turn = chat.ask("first", max_tokens=6)
    with pytest.raises(ParameterError, match="6 tokens"):
        turn.perplexity(*span)
    with pytest.raises(ParameterError):
        turn.perplexity(1.5)  # type: ignore[arg-type]
    assert turn.perplexity(-2) == turn.perplexity(4, 6)


def test_a_message_that_another_holds_has_no_tokens(loaded: Chat) -> None:
    held = next(turn for turn in loaded.turns if turn.index is not None)
    assert held.surprisal.size == held.entropy.size == 0
    with pytest.raises(ParameterError):
        held.perplexity()


def test_nothing_surprises_in_a_real_answer(smollm2: Any) -> None:
    chat = Chat(smollm2, n_ctx=256, n_threads=1, temperature=0)
    answer = chat.ask("Count: one two three four", max_tokens=6)
    wrong = chat.ask("banana banana xylophone", max_tokens=1)
    question = next(turn for turn in chat.turns[::-1] if turn.role == "user")
    assert answer.perplexity() < 10 < question.perplexity()
    assert wrong.entropy.shape == (len(wrong.tokens),)
    assert log_probability(chat.context.logits_at(chat.head.start), wrong.tokens[0]) == (
        pytest.approx(-float(wrong.surprisal[0]), abs=1e-4)
    )
