"""What somebody else wrote is weighed, and what lies behind is looked up; the context stays."""

from __future__ import annotations

import math
import signal
import threading
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY, SNAPSHOT, Script, assert_twins, context_of, play, words

from mullama_nb import Context, Model
from mullama_nb.engine.sampling.sampler import log_probability
from mullama_nb.errors import ContextError, ContextFullError, InexactWarning, ParameterError

PROMPT = words(70)
# Crosses 256 cells, the window of 32 and batches of 64.
CONTINUATION = words(200, 1)
# With these, batches of different sizes differ by rounding in single precision only.
PRECISE = {"kv_cache_type": "f32", "flash_attention": False}
SCRIPT: Script = [words(70), 12, words(3, 1), 5, words(150, 2), 40, words(1, 3), 6]

every = pytest.mark.parametrize("architecture", EVERY)
every_but_windowed_snapshots = pytest.mark.parametrize("architecture", EVERY[:-1])
one_of_each = pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba", "lfm2"])


class Unchanged:
    """Checks that a context holds what it held, to the bit, and goes on like its twin."""

    def __init__(self, context: Context, twin: Context) -> None:
        self.context, self.twin = context, twin
        context.mark()
        self.tokens, self.rows = context.tokens, context.capture().data

    def check(self) -> None:
        assert self.context.tokens == self.tokens
        assert self.context.watermark == len(self.tokens)
        np.testing.assert_array_equal(self.context.capture().data, self.rows)
        assert_twins(self.context, self.twin)


def forced(context: Context, tokens: list[int]) -> list[float]:
    """The log-probability of each token, evaluated one after the other."""
    logprobs = []
    for token in tokens:
        logprobs.append(log_probability(context.logits, token))
        context.evaluate([token])
    return logprobs


# -- score --------------------------------------------------------------------------------------


@pytest.mark.slow
@every
def test_a_score_is_the_sum_along_the_way(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), PROMPT, **PRECISE)
    score = context.score(CONTINUATION)
    expected = forced(context, CONTINUATION)
    assert score.tokens == tuple(CONTINUATION)
    assert score.logprobs[0] == expected[0]
    np.testing.assert_allclose(score.logprobs, expected, atol=0.005)
    assert score.total == math.fsum(score.logprobs)


@every
def test_a_score_leaves_the_context_as_it_was(tiny: ModelMaker, architecture: str) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT) for _ in range(2))
    unchanged = Unchanged(context, twin)
    context.score(CONTINUATION)
    unchanged.check()


@pytest.mark.parametrize("options", [{"n_batch": 7, "n_ubatch": 7}, {"n_ubatch": 16}])
def test_small_batches_score_the_same(tiny: ModelMaker, options: dict[str, int]) -> None:
    expected = context_of(tiny(), PROMPT, **PRECISE).score(CONTINUATION)
    score = context_of(tiny(), PROMPT, **PRECISE, **options).score(CONTINUATION)
    np.testing.assert_allclose(score.logprobs, expected.logprobs, atol=0.005)


def test_a_text_is_scored_as_more_text(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    model = context.model
    text = " and then<|im_end|>"
    assert context.score(text).tokens == tuple(model.tokenize(text))
    assert context.score(text, special=True).tokens == tuple(model.tokenize(text, special=True))
    assert len(context.score(text, special=True).tokens) < len(context.score(text).tokens)


def test_nothing_is_certain(tiny: ModelMaker) -> None:
    score = context_of(tiny(), PROMPT).score("")
    assert (score.tokens, score.logprobs, score.total) == ((), (), 0.0)


def test_all_next_tokens_sum_to_one(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    totals = [context.score([token]).total for token in range(512)]
    assert math.fsum(map(math.exp, totals)) == pytest.approx(1, abs=1e-4)


@one_of_each
def test_what_fits_is_scored_and_no_more(tiny: ModelMaker, architecture: str) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT, n_ctx=256) for _ in range(2))
    unchanged = Unchanged(context, twin)
    assert len(context.score(words(256 - 70)).tokens) == 256 - 70
    with pytest.raises(ContextFullError) as raised:
        context.score(words(257 - 70))
    assert (raised.value.needed, raised.value.free) == (257 - 70, 256 - 70)
    unchanged.check()


@one_of_each
def test_a_stopped_score_leaves_nothing(
    tiny: ModelMaker, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT) for _ in range(2))
    unchanged = Unchanged(context, twin)
    decoder = context._scheduler.path.memory.decoder
    decode_rows = decoder.decode_rows

    def stop_then(*arguments: Any, **options: Any) -> Any:
        context.stop()
        return decode_rows(*arguments, **options)

    monkeypatch.setattr(decoder, "decode_rows", stop_then)
    with pytest.raises(ContextError, match="stopped"):
        context.score(CONTINUATION)
    monkeypatch.undo()
    unchanged.check()
    assert len(context.score(CONTINUATION).tokens) == 200


def test_an_interrupt_ends_a_score(tiny: ModelMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    context, twin = (context_of(tiny(), PROMPT) for _ in range(2))
    unchanged = Unchanged(context, twin)
    decoder = context._scheduler.path.memory.decoder
    decode_rows, calls = decoder.decode_rows, []
    main = threading.main_thread().ident
    assert main is not None

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            signal.pthread_kill(main, signal.SIGINT)
            while not context._scheduler._abort.is_set():
                pass
        return decode_rows(*arguments, **options)

    monkeypatch.setattr(decoder, "decode_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        context.score(CONTINUATION)
    monkeypatch.undo()
    assert len(calls) == 1
    unchanged.check()


def test_a_stream_goes_on_past_a_score(tiny: ModelMaker) -> None:
    context, twin = (context_of(tiny(), PROMPT) for _ in range(2))
    stream = context.stream(None, 20, seed=3)
    tokens = [next(stream)]
    for token in stream:
        context.score(words(5, token.id))
        context.logits_at(token.id % context.token_count() + 1)
        tokens.append(token)
    assert tuple(tokens) == twin.generate(None, 20, seed=3).tokens
    assert_twins(context, twin)

    stream = context.stream(None, 20)
    next(stream)
    context.score("and")
    context.stop()
    assert list(stream) == []


def test_there_is_no_score_of_nothing(tiny: ModelMaker) -> None:
    with pytest.raises(ContextError, match="empty"):
        context_of(tiny()).score([20])


def test_tokens_must_be_in_the_vocabulary(tiny: ModelMaker) -> None:
    with pytest.raises(ParameterError, match="vocabulary"):
        context_of(tiny(), PROMPT).score([512])


# -- logits at a token --------------------------------------------------------------------------


@pytest.mark.slow
@every_but_windowed_snapshots
def test_logits_are_as_they_were(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    context, twin = context_of(model), context_of(model)
    trace = play(context, SCRIPT)
    play(twin, SCRIPT)
    unchanged = Unchanged(context, twin)
    points = list(trace)
    for n_tokens in points[::-3] + points[::4]:
        np.testing.assert_array_equal(context.logits_at(n_tokens), trace[n_tokens])
    unchanged.check()


@pytest.mark.slow
@every_but_windowed_snapshots
def test_logits_inside_a_prefill_are_those_of_a_rewind(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    context, twin = (context_of(model, PROMPT) for _ in range(2))
    unchanged = Unchanged(context, twin)
    for n_tokens in (1, 30, 31, 32, 33, 69):
        rewound = context_of(model, PROMPT)
        rewound.rewind(n_tokens)
        np.testing.assert_array_equal(context.logits_at(n_tokens), rewound.logits)
    unchanged.check()


@one_of_each
def test_logits_at_the_end_may_have_been_dropped(tiny: ModelMaker, architecture: str) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT) for _ in range(2))
    for one in (context, twin):
        one.rewind(50)
    np.testing.assert_array_equal(context.logits_at(20), context_of_rewound(twin, 20))
    assert_twins(context, twin)


def context_of_rewound(context: Context, n_tokens: int) -> Any:
    with context.fork() as fork:
        if fork.memory_kind == "snapshot":
            fork.clear()
            fork.evaluate(PROMPT)
        fork.rewind(n_tokens)
        return fork.logits


def test_a_window_beside_recurrent_memory_is_looked_back_upon_exactly(tiny: ModelMaker) -> None:
    context, shorter = context_of(tiny("lfm2swa"), PROMPT), context_of(tiny("lfm2swa"), PROMPT)
    shorter.rewind(40)
    tokens, logits = context.tokens, context.logits
    for n_tokens in (40, 20):
        found = context.logits_at(n_tokens)
        if n_tokens == 40:
            np.testing.assert_array_equal(found, shorter.logits)
        assert context.tokens == tokens
        np.testing.assert_array_equal(context.logits, logits)


def test_below_a_loaded_window_logits_are_said_not_to_be_exact(tiny: ModelMaker) -> None:
    context = context_of(tiny("gemma3"), words(100))
    loaded = context_of(tiny("gemma3"))
    path = context._scheduler.path
    state = path.memory._read(0)  # as llama.cpp writes it, with the window only
    with loaded._scheduler.moving() as moved:
        moved.replace(type(path.whole_state())(context.tokens, state, context.logits, floor=100))
    before = loaded.capture(90).data
    with pytest.warns(InexactWarning):
        logits = loaded.logits_at(40)
    np.testing.assert_allclose(logits, context.logits_at(40), atol=0.02)
    np.testing.assert_array_equal(loaded.capture(90).data, before)
    np.testing.assert_array_equal(loaded.logits, context.logits)


@pytest.mark.parametrize("n_tokens", [0, 71, -1, True, 1.0])
def test_there_are_no_logits_elsewhere(tiny: ModelMaker, n_tokens: Any) -> None:
    with pytest.raises(ParameterError):
        context_of(tiny(), PROMPT).logits_at(n_tokens)


def test_top_tokens_at(tiny: ModelMaker) -> None:
    context, shorter = context_of(tiny(), PROMPT), context_of(tiny(), PROMPT)
    shorter.rewind(30)
    assert context.top_tokens(5, at=30) == shorter.top_tokens(5)
    assert context.top_tokens(5, at=70) == context.top_tokens(5)


# -- the watermark ------------------------------------------------------------------------------


@one_of_each
def test_the_watermark_says_which_rows_were_kept(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), PROMPT)
    assert context.watermark == 0
    context.mark()
    context.generate(None, 10)
    assert context.watermark == 70
    context.rewind(75)
    assert context.watermark == 70
    tail = context.capture(60)
    context.rewind(60)
    assert context.watermark == 60
    context.restore(tail, keep=60)
    assert context.watermark == (0 if architecture in SNAPSHOT else 60)
    context.mark()
    assert context.watermark == 75
    context.clear()
    assert context.watermark == 0


@one_of_each
def test_what_is_put_back_leaves_the_watermark(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), PROMPT)
    context.mark()
    context.score(CONTINUATION)
    context.logits_at(40)
    context.top_tokens(3, at=40)
    context.explore(3, 5)

    def fail(_done: int, _all: int) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        context.evaluate(words(20), progress=fail)
    with pytest.raises(ContextFullError):
        context.evaluate(words(2000))
    assert context.watermark == 70


# -- a real model -------------------------------------------------------------------------------


def test_a_real_model_knows_what_is_likely(smollm2: Model) -> None:
    with context_of(smollm2, smollm2.tokenize("The capital of France is")) as context:
        logits, rows = context.logits, context.capture().data
        likely, unlikely = context.score(" Paris"), context.score(" banana")
        assert likely.total > unlikely.total + 3
        np.testing.assert_array_equal(context.logits, logits)
        np.testing.assert_array_equal(context.capture().data, rows)
        assert context.top_tokens(3, at=3) != context.top_tokens(3)
        expected = forced(context, list(context.score(" Paris, and").tokens))
        context.rewind(len(context.tokens) - len(expected))
        np.testing.assert_allclose(context.score(" Paris, and").logprobs, expected, atol=0.3)
