"""What is rewound, restored, forked or loaded goes on as if nothing had happened, to the bit."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import (
    CUTTABLE,
    EVERY,
    SNAPSHOT,
    WINDOWED,
    Script,
    assert_twins,
    context_of,
    play,
    words,
)

from mullama_nb.errors import ContextError, InexactWarning
from mullama_nb.state.file import read_session

# Crosses 256 cells, the window of 32 and chunks of 64, with prefills long and short.
SCRIPT: Script = [words(70), 12, words(3, 1), 5, words(150, 2), 40, words(1, 3), 6]
LONG: Script = [words(300, 4), 10]

every = pytest.mark.parametrize("architecture", EVERY)
plain_and_windowed = pytest.mark.parametrize("architecture", CUTTABLE + WINDOWED)
snapshots = pytest.mark.parametrize("architecture", SNAPSHOT)


def changes_of(architecture: str) -> dict[str, int]:
    """Chunks of 64 tokens make prefills of several."""
    return {"n_batch": 64, "n_ubatch": 64} if architecture != "llama" else {}


@pytest.mark.slow
@every
@pytest.mark.parametrize("include_logits", [True, False])
def test_a_saved_session_goes_on_exactly(
    tiny: ModelMaker, tmp_path: Path, architecture: str, include_logits: bool
) -> None:
    model, changes = tiny(architecture), changes_of(architecture)
    for stop in range(1, len(SCRIPT) + 1):
        context = context_of(model, **changes)
        play(context, SCRIPT[:stop])
        context.save_session(tmp_path / "a", include_logits=include_logits)
        fresh = context_of(model, words(200, 9), **changes)
        fresh.load_session(tmp_path / "a")
        fresh.save_session(tmp_path / "b", include_logits=include_logits)
        saved, again = read_session(tmp_path / "a"), read_session(tmp_path / "b")
        np.testing.assert_array_equal(saved.state, again.state)
        assert saved.n_bytes == again.n_bytes
        assert_twins(fresh, context)


@pytest.mark.slow
@every
def test_a_fork_goes_on_exactly_and_alone(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture))
    play(context, SCRIPT)
    fork, twin = context.fork(), context.fork()
    tokens = context.tokens
    fork.evaluate(words(30, 8))
    assert context.tokens == tokens
    assert_twins(twin, context)


@pytest.mark.slow
@plain_and_windowed
def test_rewinding_brings_back_every_sealed_point(tiny: ModelMaker, architecture: str) -> None:
    model, changes = tiny(architecture), changes_of(architecture)
    twin, context = context_of(model, **changes), context_of(model, **changes)
    trace = play(twin, SCRIPT)
    play(context, SCRIPT)
    rng = random.Random(1)
    for n_tokens in sorted(rng.sample(sorted(trace), 30), reverse=True):
        assert context.rewind(n_tokens) == 0
        np.testing.assert_array_equal(context.logits, trace[n_tokens])
        context.generate(None, rng.randrange(4), seed=3)
        assert context.rewind(n_tokens) == 0
        np.testing.assert_array_equal(context.logits, trace[n_tokens])


@pytest.mark.slow
@every
def test_what_follows_a_rewind_is_as_it_was_the_first_time(
    tiny: ModelMaker, architecture: str
) -> None:
    context = context_of(tiny(architecture))
    trace = play(context, SCRIPT)
    tokens = context.tokens
    ends = [70, 82, 85, 90, 240, 280]
    for n_tokens in reversed(ends):
        context.rewind(n_tokens)
        np.testing.assert_array_equal(context.logits, trace[n_tokens])
        at = ends.index(n_tokens) + 1
        again = play(context, SCRIPT[at:])
        assert context.tokens == tokens
        for n, logits in again.items():
            np.testing.assert_array_equal(logits, trace[n])


@snapshots
def test_memory_that_cannot_be_cut_goes_back_by_evaluating_again(
    tiny: ModelMaker, architecture: str
) -> None:
    context = context_of(tiny(architecture))
    trace = play(context, SCRIPT)
    seen: list[tuple[int, int]] = []
    assert context.rewind(277, progress=lambda *pair: seen.append(pair)) == 37
    assert seen == [(n, 37) for n in range(1, 38)]
    np.testing.assert_array_equal(context.logits, trace[277])
    assert context.rewind(240) == 0
    np.testing.assert_array_equal(context.logits, trace[240])
    assert context.rewind(82 + 1) > 0, "inside a prefill there was no state to keep"
    assert context.rewind(0) == 0
    assert context.token_count() == 0


@plain_and_windowed
def test_rewinding_into_a_prefill_is_the_same_after_loading(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    model = tiny(architecture)
    twin = context_of(model)
    play(twin, LONG)
    twin.save_session(tmp_path / "s")
    loaded = context_of(model)
    loaded.load_session(tmp_path / "s")
    for n_tokens in (305, 300, 299, 256, 255, 200, 40, 33, 32, 31, 1):
        for context in (twin, loaded):
            assert context.rewind(n_tokens) == 0
        np.testing.assert_array_equal(twin.logits, loaded.logits)
    play(twin, LONG)
    play(loaded, LONG)
    assert_twins(twin, loaded)


@snapshots
def test_a_rewind_below_what_was_loaded_warns(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    context = context_of(tiny(architecture))
    play(context, SCRIPT[:2])
    context.save_session(tmp_path / "s")
    context.load_session(tmp_path / "s")
    play(context, [5])
    assert context.rewind(84) == 2
    assert context.rewind(82) == 0, "the loaded point itself is kept"
    with pytest.warns(InexactWarning, match="76 tokens were evaluated again to rewind"):
        assert context.rewind(76) == 76
    fresh = context_of(tiny(architecture), context.tokens)
    np.testing.assert_allclose(context.logits, fresh.logits, atol=0.1)


@plain_and_windowed
def test_deltas_bring_back_every_checkpoint(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    context = context_of(model)
    segments, ends, logits = [], [0], []
    for action in [*SCRIPT, *LONG]:
        if context.token_count() + 300 > context.n_ctx:
            break
        play(context, [action])
        parent = segments[-1].address if segments else None
        segments.append(context.capture(ends[-1], parent=parent))
        ends.append(context.token_count())
        logits.append(context.logits)
    assert [segment.stop for segment in segments] == ends[1:]
    others = context_of(model, words(100, 7))
    for keep in range(len(segments)):
        for last in range(keep, len(segments)):
            others.restore(segments[:keep])
            others.restore(segments[keep : last + 1], keep=ends[keep])
            assert others.tokens == context.tokens[: ends[last + 1]]
            np.testing.assert_array_equal(others.logits, logits[last])
    assert_twins(others, context)


@pytest.mark.slow
@plain_and_windowed
def test_a_segment_can_be_split_anywhere(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    context = context_of(model)
    play(context, LONG)
    structure, _ = context.layout
    whole = context.capture()
    for cut in (1, 31, 32, 33, 255, 256, 257, 300, 309):
        head, tail = whole.split(cut, structure)
        assert (head.stop, tail.start, tail.stop) == (cut, cut, 310)
        assert tail.parent == head.address
        other = context_of(model)
        other.restore([head, tail])
        np.testing.assert_array_equal(other.capture().data, whole.data)
        assert_twins(other, context.fork(), 4)
        other.restore(head)
        rewound = context.fork()
        rewound.rewind(cut)
        assert_twins(other, rewound, 4)


@snapshots
def test_snapshots_restore_whole_states(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    context = context_of(model)
    play(context, SCRIPT[:3])
    first = context.capture()
    play(context, SCRIPT[3:5])
    second = context.capture(first.stop, parent=first.address)
    assert first.whole
    assert second.whole
    twin = context.fork()
    other = context_of(model, words(9))
    other.restore([first, second])
    assert_twins(other, twin)
    other.restore(first)
    context.restore(first)
    assert_twins(other, context)
    structure, _ = context.layout
    with pytest.raises(ValueError, match="cannot be cut"):
        first.split(3, structure)


@every
def test_restoring_checks_what_follows_on_what(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), words(50))
    first = context.capture()
    context.evaluate(words(9, 1))
    second = context.capture(50, parent=first.address)
    tokens = context.tokens
    with pytest.raises(ContextError, match="starts at token 50 cannot follow 0 tokens"):
        context.restore(second)
    with pytest.raises(ContextError, match="starts at token 0 cannot follow 50 tokens"):
        context.restore([first, first])
    with pytest.raises(ContextError, match="cannot keep 60 tokens: the context holds 59"):
        context.restore([], keep=60)
    with pytest.raises(ContextError, match="no tokens to capture from 59"):
        context.capture(59)
    stranger = context_of(tiny(architecture, seed=1))
    with pytest.raises(ContextError, match="another model or other settings"):
        stranger.restore(first)
    assert context.tokens == tokens


@every
def test_a_switch_that_fails_leaves_everything_as_it_was(
    tiny: ModelMaker, architecture: str
) -> None:
    context = context_of(tiny(architecture, chat_template="{{ messages[0].content }}"))
    play(context, [words(40), 6])
    logits = context.logits
    text = context.text()[:20] + " and something else that is long enough"

    def fail(done: int, total: int) -> None:
        raise RuntimeError(f"{done} of {total}")

    messages = [{"role": "user", "content": text}]
    with pytest.raises(RuntimeError, match="of"):
        context.evaluate(messages=messages, progress=fail)
    np.testing.assert_array_equal(context.logits, logits)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        context.rewind(40)  # what was known of the way there is still known
    fresh = context_of(tiny(architecture, chat_template="{{ messages[0].content }}"), words(40))
    assert_twins(context, fresh)


@snapshots
def test_a_failing_progress_callback_does_not_stop_a_rewind_half_way(
    tiny: ModelMaker, architecture: str
) -> None:
    context = context_of(tiny(architecture))
    trace = play(context, SCRIPT[:2])

    def fail(_done: int, _total: int) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        context.rewind(78, progress=fail)
    assert context.token_count() == 78
    np.testing.assert_array_equal(context.logits, trace[78])


def test_one_token_at_a_time_is_the_same_as_generating(tiny: ModelMaker) -> None:
    model = tiny()
    one = context_of(model, words(20))
    answer = one.generate(None, 50, temperature=0)
    two = context_of(model, words(20))
    for token in answer.tokens:
        two.evaluate([token.id])
    assert_twins(one, two)
