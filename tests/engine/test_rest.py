"""A context that rests has no cells, and goes on as if it had not rested."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY, PARAMS, SNAPSHOT, assert_twins, context_of, words
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import wait_until

from mullama_nb import Context
from mullama_nb.engine.path_state import PathState
from mullama_nb.errors import ContextClosedError

REST = "rest"
STEPS = st.lists(
    st.one_of(
        st.just(REST),
        st.tuples(
            st.sampled_from(["evaluate", "generate", "rewind", "recapture", "look"]),
            st.integers(1, 40),
        ),
    ),
    min_size=4,
    max_size=14,
)


def step(context: Context, action: str, n: int) -> None:
    """One step of a walk; the same one on a context that stands where this one does."""
    held = context.token_count()
    if action == "evaluate":
        context.evaluate(words(n, n))
    elif action == "generate":
        context.generate(None if held else [17], n, seed=n)
    elif action == "rewind":
        context.rewind(held * n // 40)
    elif action == "recapture" and held:
        start = held * n // 41
        segment = context.capture(start)
        context.rewind(start)
        context.restore(segment, keep=start)
    elif action == "look" and held:
        context.top_tokens(3, at=1 + held * n // 41)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
@pytest.mark.filterwarnings("ignore::mullama_nb.errors.InexactWarning")
def test_a_walk_with_rests_is_the_walk_without(
    tiny: ModelMaker, architecture: str, steps: list[object]
) -> None:
    context, twin = (Context(tiny(architecture), PARAMS) for _ in range(2))
    for action in steps:
        if action == REST:
            assert context.rest()
            assert context.is_resting
        else:
            for walker in (context, twin):
                step(walker, *action)  # type: ignore[misc]
            assert context.tokens == twin.tokens
    context.rest()
    if context.token_count():
        assert context.watermark == twin.watermark
        assert_twins(context, twin, 8)
    for walker in (context, twin):
        walker.close()


def test_memory_that_cannot_be_put_back_exactly_does_not_rest(tiny: ModelMaker) -> None:
    context = context_of(tiny("lfm2swa"), words(40))
    with context._scheduler.moving() as path:  # as a file of llama.cpp's or an earlier version's
        data, n_tokens = path.memory._read(0), path.n_tokens
        path.replace(PathState(context.tokens, data, path.logits, floor=n_tokens))
    assert not context.rest()
    assert not context.is_resting


def test_it_keeps_no_thread_and_says_what_it_holds(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    before = {t.name for t in threading.enumerate() if "mullama-context" in t.name}
    assert context.rest()
    assert context.rest()
    for thread in threading.enumerate():
        if thread.name.startswith("mullama-context") and thread.name in before:
            thread.join()
    assert not [t for t in threading.enumerate() if t.name in before and t.is_alive()]
    assert context.token_count() == 40
    assert context.tokens == tuple(words(40))
    assert repr(context).count("40 of 512")
    assert context.is_resting


def test_a_context_at_work_does_not_rest(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    with context.stream(None, 9) as stream:
        next(stream)
        assert not context.rest()
    wait_until(context.rest)  # whoever generated lets go when he comes to it
    heard: list[bool] = []
    context.generate(None, 1, on_token=lambda _: heard.append(context.rest()))
    assert heard == [False]


def test_a_closed_context_does_not_wake(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    context.rest()
    context.close()
    assert not context.rest()
    assert not context.is_resting
    with pytest.raises(ContextClosedError):
        context.evaluate([17])


def test_one_that_cannot_wake_keeps_what_it_holds(
    tiny: ModelMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, twin = context_of(tiny(), words(40)), context_of(tiny(), words(40))
    context.rest()
    with monkeypatch.context() as broken:
        broken.setattr("llama_cpp.llama_init_from_model", lambda *_: None)
        with pytest.raises(Exception, match="cannot make a context"):
            context.evaluate([17])
    assert context.token_count() == 40
    assert_twins(context, twin)


def test_a_stream_outlives_a_context_that_woke(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    context.rest()
    stream = context.stream(None, 4)
    gone = weakref.ref(context)
    del context
    gc.collect()
    assert gone() is None
    assert len(list(stream)) == 4


def test_resting_is_for_snapshots_with_their_logits(tiny: ModelMaker) -> None:
    for architecture in ("mamba", "jamba"):
        assert architecture in SNAPSHOT
        context = context_of(tiny(architecture), words(40))
        logits = context.logits
        context.rest()
        np.testing.assert_array_equal(context.logits, logits)
