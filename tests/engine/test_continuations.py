"""What may follow is worked out beside the path, in batches; the context stays as it was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY, SNAPSHOT, context_of, words
from engine.test_scoring import PRECISE, Unchanged
from hypothesis import given, settings
from hypothesis import strategies as st

from mullama_nb import Context
from mullama_nb.engine.continuations import Continuation, Continuations
from mullama_nb.errors import ContextError, ContextFullError, ParameterError

PROMPT = words(70)
WIDE = {"depth": 3, "min_p": 0.0, "width": 3}

every = pytest.mark.parametrize("architecture", EVERY)
every_but_windowed_snapshots = pytest.mark.parametrize("architecture", EVERY[:-1])
one_of_each = pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba", "lfm2"])


def ways(roots: tuple[Continuation, ...]) -> Iterator[tuple[Continuation, ...]]:
    for root in roots:
        yield (root,)
        for way in ways(root.children):
            yield (root, *way)


def check_tree(found: Continuations, depth: int, min_p: float, width: int) -> None:
    """What holds for every tree, whatever the model says."""
    for way in ways(found.roots):
        last = way[-1]
        assert len(way) <= depth
        assert last.probability >= min_p
        assert last.joint == pytest.approx(np.prod([each.probability for each in way]))
        assert len(last.children) <= width
        assert sum(child.joint for child in last.children) <= last.joint * (1 + 1e-6)
        assert not (last.is_end and last.children)
        likely = [child.probability for child in last.children]
        assert likely == sorted(likely, reverse=True)
    assert sum(root.joint for root in found.roots) <= 1 + 1e-6
    n_inner = sum(len(way) < depth and not way[-1].is_end for way in ways(found.roots))
    assert found.n_evaluated == n_inner


# -- the tree -----------------------------------------------------------------------------------


@every
def test_probabilities_are_those_of_a_score(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), PROMPT, **PRECISE)
    found = context.continuations(**WIDE)
    check_tree(found, **WIDE)
    assert sum(1 for _ in ways(found.roots)) == 3 + 9 + 27
    for way in ways(found.roots):
        score = context.score([each.token for each in way])
        assert np.log(way[-1].joint) == pytest.approx(score.total, abs=0.01)


@one_of_each
def test_with_a_usual_cache_they_differ_little(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), PROMPT)
    for way in ways(context.continuations(**WIDE).roots):
        score = context.score([each.token for each in way])
        assert np.log(way[-1].joint) == pytest.approx(score.total, abs=0.1)


@every
def test_a_tree_leaves_the_context_as_it_was(tiny: ModelMaker, architecture: str) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT) for _ in range(2))
    unchanged = Unchanged(context, twin)
    context.continuations(**WIDE)
    unchanged.check()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "lfm2"])
@pytest.mark.parametrize(
    "changes",
    [{"kv_cache_type": "q8_0"}, {"kv_cache_type": "q4_0"}, {"flash_attention": False}],
    ids=str,
)
def test_rows_of_every_type_are_left_as_they_were(
    tiny: ModelMaker, architecture: str, changes: dict[str, Any]
) -> None:
    model = tiny(architecture, head_dim=32)
    context, twin = (context_of(model, PROMPT, **changes) for _ in range(2))
    unchanged = Unchanged(context, twin)
    for at in (None, 40):
        check_tree(context.continuations(**WIDE, at=at), **WIDE)
        context.score_held(at or 1)
    unchanged.check()


@pytest.mark.slow
@every_but_windowed_snapshots
@pytest.mark.parametrize("at", [1, 31, 33, 69])
def test_an_earlier_tree_is_that_of_a_shorter_context(
    tiny: ModelMaker, architecture: str, at: int
) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT) for _ in range(2))
    unchanged = Unchanged(context, twin)
    shorter = context_of(tiny(architecture), PROMPT)
    shorter.rewind(at)
    assert context.continuations(**WIDE, at=at) == shorter.continuations(**WIDE)
    unchanged.check()


@pytest.mark.slow
@one_of_each
def test_few_sequences_and_few_cells_do(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    expected = context_of(model, PROMPT, **PRECISE).continuations(**WIDE)
    for changes in ({"n_parallel": 1}, {"n_parallel": 3, "n_batch": 2, "n_ubatch": 2}):
        context = context_of(model, PROMPT, **PRECISE, **changes)
        found = context.continuations(**WIDE)
        for a, b in zip(ways(found.roots), ways(expected.roots), strict=True):
            assert a[-1].token == b[-1].token
            assert a[-1].joint == pytest.approx(b[-1].joint, rel=0.01)
    full = context_of(model, words(256 - 2), n_ctx=256)
    tokens, rows, logits = full.tokens, full.capture().data, full.logits
    check_tree(full.continuations(**WIDE), **WIDE)  # one at a time, with the last two cells
    with pytest.raises(ContextFullError) as raised:
        full.continuations(4)
    assert (raised.value.needed, raised.value.free) == (3, 2)
    check_tree(full.continuations(4, at=250), 4, 0.05, 6)  # where there is room again
    assert full.tokens == tokens
    np.testing.assert_array_equal(full.capture().data, rows)
    np.testing.assert_array_equal(full.logits, logits)
    full.evaluate(words(2))
    assert len(full.continuations(1, min_p=0).roots) == 6  # what is there already needs no cell


@every
def test_something_may_be_said_before(tiny: ModelMaker, architecture: str) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT, **PRECISE) for _ in range(2))
    unchanged = Unchanged(context, twin)
    said = words(9, 4)
    after = context.continuations(**WIDE, after=said)
    unchanged.check()
    longer = context_of(tiny(architecture), PROMPT, **PRECISE)
    longer.evaluate(said)
    expected = longer.continuations(**WIDE)
    for a, b in zip(ways(after.roots), ways(expected.roots), strict=True):
        assert a[-1].joint == pytest.approx(b[-1].joint, rel=0.02)
    assert after.n_evaluated == len(said) + expected.n_evaluated
    text = context.continuations(2, after=" and")
    tokens = context.model.tokenize(" and")
    assert text == context.continuations(2, after=tokens)
    with pytest.raises(ContextFullError):
        context.continuations(2, after=words(512))
    with pytest.raises(ParameterError, match="vocabulary"):
        context.continuations(2, after=[512])


@pytest.mark.slow
def test_an_end_has_nothing_behind_it(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    end = context.model.vocabulary.eos
    assert end is not None
    found = context.continuations(2, min_p=0, width=512)
    (ending,) = (root for root in found.roots if root.token == end)
    assert ending.is_end
    assert not ending.children
    assert ending.text == context.model.detokenize([end], special=True)
    n_ends = sum(root.is_end for root in found.roots)
    assert found.n_evaluated == 512 - n_ends


@settings(max_examples=25)
@given(
    n_tokens=st.integers(1, 60),
    depth=st.integers(1, 5),
    min_p=st.floats(0, 1),
    width=st.integers(1, 3),
    n_parallel=st.integers(1, 4),
)
def test_every_reach_gives_a_tree(
    tiny: ModelMaker, n_tokens: int, depth: int, min_p: float, width: int, n_parallel: int
) -> None:
    with context_of(tiny(), words(n_tokens, depth), n_parallel=n_parallel) as context:
        found = context.continuations(depth, min_p=min_p, width=width)
        check_tree(found, depth, min_p, width)


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 0},
        {"depth": 65},
        {"depth": 2.0},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"min_p": float("nan")},
        {"width": 0},
        {"width": True},
        {"at": 0},
        {"at": 71},
        {"at": -1},
    ],
)
def test_what_no_tree_can_be_is_refused(tiny: ModelMaker, options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        context_of(tiny(), PROMPT).continuations(**options)


def test_nothing_follows_nothing(tiny: ModelMaker) -> None:
    with pytest.raises(ContextError, match="empty"):
        context_of(tiny()).continuations()


# -- interrupted --------------------------------------------------------------------------------


def before_decode(
    monkeypatch: pytest.MonkeyPatch, context: Context, number: int, act: Callable[[], None]
) -> list[int]:
    """Do something before a decode beside the path; return a list with an item for each so far."""
    decoder = context._scheduler.path.memory.decoder
    decode_rows, calls = decoder.decode_rows, list[int]()

    def acting(*arguments: Any, **options: Any) -> Any:
        if options.get("stoppable"):
            calls.append(1)
            if len(calls) == number:
                act()
        return decode_rows(*arguments, **options)

    monkeypatch.setattr(decoder, "decode_rows", acting)
    return calls


@pytest.mark.slow
@one_of_each
@pytest.mark.parametrize("at", [None, 40])
def test_a_stopped_tree_leaves_nothing(
    tiny: ModelMaker, architecture: str, at: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT) for _ in range(2))
    unchanged = Unchanged(context, twin)
    calls = before_decode(monkeypatch, context, 2, context.stop)
    with pytest.raises(ContextError, match="stopped"):
        context.continuations(**WIDE, at=at)
    monkeypatch.undo()
    assert len(calls) == 2
    unchanged.check()


@pytest.mark.parametrize("at", [None, 40])
def test_an_interrupt_ends_a_tree(
    tiny: ModelMaker, at: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, twin = (context_of(tiny(), PROMPT) for _ in range(2))
    unchanged = Unchanged(context, twin)
    decoder = context._scheduler.path.memory.decoder
    decode_rows = decoder.decode_rows
    main = threading.main_thread().ident
    assert main is not None

    def interrupted(*arguments: Any, **options: Any) -> Any:
        if options.get("stoppable") and not context._scheduler._abort.is_set():
            signal.pthread_kill(main, signal.SIGINT)
            while not context._scheduler._abort.is_set():
                pass
        return decode_rows(*arguments, **options)

    monkeypatch.setattr(decoder, "decode_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        context.continuations(**WIDE, at=at)
    monkeypatch.undo()
    unchanged.check()


@one_of_each
@pytest.mark.parametrize("at", [None, 40])
def test_a_failed_decode_leaves_nothing(
    tiny: ModelMaker, architecture: str, at: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT) for _ in range(2))
    unchanged = Unchanged(context, twin)

    def fail() -> None:
        raise MemoryError

    before_decode(monkeypatch, context, 3, fail)
    with pytest.raises(MemoryError):
        context.continuations(**WIDE, at=at)
    monkeypatch.undo()
    unchanged.check()


def test_a_stream_goes_on_past_a_tree(tiny: ModelMaker) -> None:
    context, twin = (context_of(tiny(), PROMPT) for _ in range(2))
    stream, tokens = context.stream(None, 12, seed=3), []
    for token in stream:
        context.continuations(3, at=token.id % context.token_count() + 1)
        context.continuations(2)
        tokens.append(token)
    assert tuple(tokens) == twin.generate(None, 12, seed=3).tokens


# -- the tokens that are held -------------------------------------------------------------------


def held_exactly(context: Context, start: int, stop: int) -> list[float]:
    from mullama_nb.engine.sampling.sampler import log_probability

    tokens = context.tokens
    return [log_probability(context.logits_at(at), tokens[at]) for at in range(start, stop)]


@pytest.mark.slow
@every_but_windowed_snapshots
def test_tokens_that_are_held_are_scored_in_batches(tiny: ModelMaker, architecture: str) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT, **PRECISE) for _ in range(2))
    unchanged = Unchanged(context, twin)
    for start, stop in ((1, 70), (30, 34), (69, 70), (70, 70)):
        score = context.score_held(start, stop)
        assert score.tokens == context.tokens[start:stop]
        expected = held_exactly(context, start, stop)
        np.testing.assert_allclose(score.logprobs, expected, atol=0.01)
        assert len(score.entropies) == stop - start
    assert context.score_held() == context.score_held(1, 70)
    unchanged.check()


def test_entropy_is_that_of_the_distribution(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT, **PRECISE)
    score = context.score_held(50, 60)
    for at, found in zip(range(50, 60), score.entropies, strict=True):
        logits = context.logits_at(at).astype(np.float64)
        p = np.exp(logits - logits.max())
        p /= p.sum()
        assert found == pytest.approx(-(p * np.log(p)).sum(), abs=0.01)
        assert 0 <= found <= np.log(len(p))


@pytest.mark.parametrize(("start", "stop"), [(0, None), (71, None), (5, 4), (1, 71), (True, None)])
def test_other_tokens_have_no_score(tiny: ModelMaker, start: Any, stop: Any) -> None:
    with pytest.raises(ParameterError):
        context_of(tiny(), PROMPT).score_held(start, stop)


# -- walks --------------------------------------------------------------------------------------


@pytest.mark.slow
@every_but_windowed_snapshots
def test_a_random_walk_with_looks_is_the_walk_without(tiny: ModelMaker, architecture: str) -> None:
    """Whatever is done in between, looking ahead changes no bit."""
    model = tiny(architecture)
    looked, twin = context_of(model, PROMPT), context_of(model, PROMPT)
    random = np.random.default_rng(len(architecture))
    for step in range(24):
        context_at = int(random.integers(1, looked.token_count() + 1))
        action = random.choice(["continuations", "score_held", "score"])
        if action == "continuations":
            depth, width = (int(n) for n in random.integers(1, 4, 2))
            at = random.choice([None, context_at])
            looked.continuations(depth, min_p=0.0, width=width, at=at)
        elif action == "score_held":
            looked.score_held(context_at)
        else:
            looked.score(words(9, step))
        move = random.choice(["evaluate", "generate", "rewind", "explore"])
        n = int(random.integers(1, 20))
        for context in (looked, twin):
            if move == "evaluate" and context.token_count() < 400:
                context.evaluate(words(n, step))
            elif move == "generate" and context.token_count() < 400:
                context.generate(None, n, seed=step)
            elif move == "rewind" and architecture not in SNAPSHOT:
                context.rewind(max(1, context.token_count() - n))
            elif move == "explore":
                context.explore(3, 3, seed=step)
        assert looked.tokens == twin.tokens
        np.testing.assert_array_equal(looked.logits, twin.logits)
    np.testing.assert_array_equal(looked.capture().data, twin.capture().data)
