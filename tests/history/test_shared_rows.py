"""Rows that chats on one context share: evaluated once, and the same bits in any order."""

from __future__ import annotations

import random
from typing import Any

import llama_cpp
import pytest
from conftest import ModelMaker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mullama_nb import Context, ContextParams
from mullama_nb.engine.tally import tallied
from mullama_nb.history.shared_rows import KeptRows, SharedRows
from mullama_nb.testing.suites.ordering import ordered

KINDS = ["llama", "gemma3", "mamba", "lfm2"]
PARAMS = ContextParams(n_ctx=256, n_threads=1, n_threads_batch=1)
# Few tokens and short paths, so that many have beginnings in common.
PATHS = st.lists(
    st.lists(st.integers(5, 7), min_size=1, max_size=9).map(tuple), min_size=1, max_size=6
)
ALSO_WITH_FIXTURES = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Counter:
    """Tokens that llama.cpp was given to decode."""

    n_tokens = 0


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter:
    counter, decode = Counter(), llama_cpp.llama_decode

    def count(handle: Any, batch: Any) -> int:
        counter.n_tokens += batch.n_tokens
        status: int = decode(handle, batch)
        return status

    monkeypatch.setattr(llama_cpp, "llama_decode", count)
    return counter


def state(context: Context) -> tuple[bytes, bytes]:
    return context.capture().data.tobytes(), context.logits.tobytes()


def evaluated(
    context: Context, kept: KeptRows, path: tuple[int, ...], forks: tuple[int, ...] | None
) -> SharedRows:
    """Evaluate a path in an empty context as a chat does: perhaps in two steps."""
    context.clear()
    shared = SharedRows(context, kept, forks, len(path))
    for part in filter(None, (path[:1], path[1:])):
        assert shared.evaluate(part) == len(part)
    assert context.tokens == path
    return shared


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_edge_of_the_tree_is_evaluated_once(
    tiny: ModelMaker, decoded: Counter, kind: str
) -> None:
    with tallied() as tallies:
        context = Context(tiny(kind), PARAMS)

    @given(PATHS)
    @ALSO_WITH_FIXTURES
    def check(paths: list[tuple[int, ...]]) -> None:
        order, kept = ordered(paths), KeptRows()
        before, told = decoded.n_tokens, tallies.n_tokens
        n_taken = 0
        for index in order.indices:
            n_taken += evaluated(context, kept, paths[index], order.forks[index]).n_taken
            _ = context.logits  # known without another decode
        assert decoded.n_tokens - before == order.n_evaluated
        assert tallies.n_tokens - told == order.n_evaluated
        assert n_taken == order.n_alone - order.n_evaluated

    check()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_bits_are_the_same_in_any_order_and_alone(tiny: ModelMaker, kind: str) -> None:
    context = Context(tiny(kind), PARAMS)

    @given(PATHS, st.randoms(use_true_random=False))
    @ALSO_WITH_FIXTURES
    def check(paths: list[tuple[int, ...]], chance: random.Random) -> None:
        forks = ordered(paths).forks
        alone = []
        for path, each in zip(paths, forks, strict=True):
            evaluated(context, KeptRows(), path, each)
            alone.append(state(context))
        kept = KeptRows()
        for _ in range(2 * len(paths)):
            index = chance.randrange(len(paths))
            if chance.random() < 0.3:  # a chat of which nothing is known in advance
                evaluated(context, kept, paths[index], None)
                continue
            evaluated(context, kept, paths[index], forks[index])
            assert state(context) == alone[index]

    check()


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_without_a_plan_the_longest_beginning_is_taken(
    tiny: ModelMaker, decoded: Counter, kind: str
) -> None:
    context, kept = Context(tiny(kind), PARAMS), KeptRows()
    evaluated(context, kept, tuple(range(5, 45)), None)
    before = decoded.n_tokens
    shared = evaluated(context, kept, (*range(5, 35), 9, 8, 7), None)
    assert (shared.n_taken, decoded.n_tokens - before) == (30, 3)
    alone = Context(tiny(kind), PARAMS)
    alone.evaluate((*range(5, 35), 9, 8, 7))
    assert abs(alone.logits - context.logits).max() < 1e-3


@pytest.mark.parametrize("kind", ["llama", "mamba"])
def test_what_is_stopped_or_fails_leaves_the_context_as_it_was(
    tiny: ModelMaker, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, kept = Context(tiny(kind), PARAMS), KeptRows()
    evaluated(context, kept, tuple(range(5, 15)), (6,))
    context.clear()
    shared = SharedRows(context, kept, (6, 9), 20)

    evaluate, n_calls = Context.evaluate, 0

    def failing(self: Context, *values: Any, **options: Any) -> int:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            raise KeyboardInterrupt
        return evaluate(self, *values, **options)

    monkeypatch.setattr(Context, "evaluate", failing)
    with pytest.raises(KeyboardInterrupt):
        shared.evaluate(tuple(range(5, 25)))
    assert context.token_count() == 0
    monkeypatch.setattr(Context, "evaluate", lambda *_, **__: 0)
    assert shared.evaluate(tuple(range(5, 25))) == 0
    assert (context.token_count(), shared.n_taken) == (0, 0)
    monkeypatch.undo()
    assert shared.evaluate(tuple(range(5, 25))) == 20


def test_other_adapters_have_rows_of_their_own(tiny: ModelMaker, decoded: Counter) -> None:
    import numpy as np

    from mullama_nb import ControlVector

    model = tiny("llama")
    context, kept, path = Context(model, PARAMS), KeptRows(), tuple(range(5, 25))
    evaluated(context, kept, path, (10,))
    directions = np.zeros((model.n_layers, model.n_embd), np.float32)
    directions[1:] = 0.5
    context.clear()
    context.adapters = [ControlVector.from_array(directions)]
    before = decoded.n_tokens
    assert evaluated(context, kept, path, (10,)).n_taken == 0
    assert decoded.n_tokens - before == len(path)
