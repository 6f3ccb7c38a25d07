"""Sealing, the traps of each kind of memory, and what happens when llama.cpp refuses."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import (
    CUTTABLE,
    EVERY,
    SNAPSHOT,
    WINDOWED,
    assert_twins,
    context_of,
    play,
    words,
)

from mullama_nb import Context
from mullama_nb.engine.memory_kind import memory_kind
from mullama_nb.engine.path_state import PathState
from mullama_nb.errors import DecodeError, InexactWarning, UnverifiedWarning
from mullama_nb.state.layout import SequenceState

every = pytest.mark.parametrize("architecture", EVERY)
plain_and_windowed = pytest.mark.parametrize("architecture", CUTTABLE + WINDOWED)


def test_each_architecture_is_of_its_kind(tiny: ModelMaker) -> None:
    kinds = {name: memory_kind(tiny(name)) for name in EVERY}
    expected = dict.fromkeys(CUTTABLE, "cuttable") | dict.fromkeys(WINDOWED, "windowed")
    assert kinds == expected | dict.fromkeys(SNAPSHOT, "snapshot")
    assert context_of(tiny("gemma3")).memory_kind == "windowed"
    assert {name for name, kind in kinds.items() if kind.can_cut} == {*CUTTABLE, *WINDOWED}
    assert {name for name, kind in kinds.items() if kind.is_plain} == {*CUTTABLE}
    assert {name for name, kind in kinds.items() if kind.has_window} == {*WINDOWED, "lfm2swa"}
    assert {name for name, kind in kinds.items() if kind.is_hybrid} == {"lfm2", "jamba", "lfm2swa"}


def test_a_kind_that_is_copied_knows_what_it_knew(tiny: ModelMaker) -> None:
    kind = memory_kind(tiny("lfm2swa"))
    for other in (copy.copy(kind), copy.deepcopy(kind), pickle.loads(pickle.dumps(kind))):
        assert (other, vars(other)) == (kind, vars(kind))


# -- sealing -----------------------------------------------------------------------------------


@pytest.mark.slow
@plain_and_windowed
def test_a_stored_row_is_never_replaced(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    context, twin = context_of(model, words(300)), context_of(model, words(300))
    whole = context.capture().data.copy()
    for n_tokens in (299, 280, 257, 256, 200, 60, 33, 32, 2, 1):
        context.rewind(n_tokens)
        twin.rewind(n_tokens)
        rows = context.capture().data.copy()
        logits = context.logits
        np.testing.assert_array_equal(context.capture().data, rows)
        structure, _ = context.layout
        np.testing.assert_array_equal(SequenceState(whole, structure).slice(0, n_tokens), rows)
        # Whether they are asked for makes no difference to what follows.
        one, two = context.fork(), twin.fork()
        assert_twins(one, two, 3)
        np.testing.assert_array_equal(context.logits, logits)


@pytest.mark.slow
@plain_and_windowed
def test_logits_can_be_dropped_at_any_time(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    context = context_of(model)
    for n_tokens, logits in play(context, [words(200), 20, words(90, 1), 5]).items():
        other = context_of(model)
        other.restore(dataclasses.replace(context.capture(), logits=None))
        other.rewind(n_tokens)
        np.testing.assert_array_equal(other.logits, logits)


@every
def test_looking_ahead_at_an_earlier_point_changes_nothing(
    tiny: ModelMaker, architecture: str
) -> None:
    context = context_of(tiny(architecture))
    trace = play(context, [words(60), 8, words(9, 1), 4])
    before, tokens = context.capture().data.copy(), context.tokens
    for n_tokens in (81, 78, 77, 68, 65, 60):
        np.testing.assert_array_equal(context.logits_at(n_tokens), trace[n_tokens])
    np.testing.assert_array_equal(context.capture().data, before)
    np.testing.assert_array_equal(context.logits, trace[81])
    assert context.tokens == tokens


# -- traps -------------------------------------------------------------------------------------


def save_natively(context: Context, path: Path) -> None:
    """Let llama.cpp write the file, as llama-server does."""
    tokens = (llama_cpp.llama_token * context.token_count())(*context.tokens)
    with context._scheduler.held() as held:
        assert llama_cpp.llama_state_seq_save_file(
            held.memory._handle, str(path).encode(), 0, tokens, len(tokens)
        )


@pytest.mark.parametrize("architecture", WINDOWED)
def test_a_window_that_was_loaded_alone_is_not_cut(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    model = tiny(architecture)
    context = context_of(model)
    trace = play(context, [words(290), 10])
    save_natively(context, tmp_path / "native")
    loaded = context_of(model)
    with (
        pytest.warns(InexactWarning, match="holds only the last rows of the sliding window"),
        pytest.warns(UnverifiedWarning, match="could not be verified"),
    ):
        loaded.load_session(tmp_path / "native")
    np.testing.assert_array_equal(loaded.logits, context.logits)
    # llama.cpp would say that it has cut, and answer wrongly by 2 and more.
    with pytest.warns(InexactWarning, match="295 tokens were evaluated again to rewind"):
        assert loaded.rewind(295) == 295
    np.testing.assert_allclose(loaded.logits, trace[295], atol=0.1)
    assert loaded.rewind(290) == 0, "after that it has all rows"
    np.testing.assert_allclose(loaded.logits, trace[290], atol=0.1)


@pytest.mark.parametrize("architecture", WINDOWED)
def test_what_follows_a_window_loaded_alone_can_be_saved_and_restored(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    model = tiny(architecture)
    context = context_of(model, words(100))
    save_natively(context, tmp_path / "native")
    with pytest.warns(InexactWarning, match="last rows"), pytest.warns(UnverifiedWarning):
        context.load_session(tmp_path / "native")
    context.generate(None, 50, seed=1)
    context.save_session(tmp_path / "ours")
    other = context_of(model)
    with pytest.warns(InexactWarning, match="ours holds only the last rows of the sliding window"):
        other.load_session(tmp_path / "ours")
    assert_twins(context, other)
    with pytest.warns(InexactWarning, match="a fork takes over only the last rows"):
        fork = context.fork()
    assert_twins(context, fork)


@every
def test_a_cleared_context_is_as_good_as_new(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    used = context_of(model, words(300, 5))
    used.clear()
    assert used.tokens == ()
    used.evaluate(words(70))
    assert_twins(used, context_of(model, words(70)))


@every
def test_learning_the_layout_leaves_no_trace(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    asked, unasked = context_of(model), context_of(model)
    structure, shape = asked.layout
    assert asked.token_count() == 0
    for context in (asked, unasked):
        context.evaluate(words(70))
    assert_twins(asked, unasked)
    assert unasked.layout == (structure, shape)


@every
def test_cells_lie_in_order_without_holes(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture))
    play(context, [words(90), 20])
    segment = context.capture()
    context.rewind(100)
    play(context, [words(30, 1), 5])
    context.restore(segment)
    state = SequenceState(context.capture().data, context.layout[0])
    assert state.is_sorted()
    state.check_positions(0, 110, 32)
    assert state.covers(0, 110)


# -- refusals ----------------------------------------------------------------------------------


@every
def test_a_state_that_llama_cpp_refuses_puts_the_old_one_back(
    tiny: ModelMaker, architecture: str
) -> None:
    model = tiny(architecture)
    context, twin = context_of(model), context_of(model)
    for each in (context, twin):
        play(each, [words(60), 4])
    broken = context.capture().data.copy()
    broken[8:24] = 0xFF
    for data in (broken, broken[:-8], broken[:8]):
        with context._scheduler.moving() as path, pytest.raises(DecodeError, match="of state"):
            path.replace(PathState((1, 2, 3), data, None))
        np.testing.assert_array_equal(context.logits, twin.logits)
    assert_twins(context, twin)


@every
def test_a_batch_that_llama_cpp_refuses_changes_nothing(
    tiny: ModelMaker, architecture: str
) -> None:
    model = tiny(architecture)
    context, twin = context_of(model), context_of(model)
    for each in (context, twin):
        play(each, [words(60), 4])
    with (
        context._scheduler.held() as path,
        pytest.raises(DecodeError, match="could not evaluate 1 tokens at position 84"),
    ):
        path.evaluate([*words(20), 10**6])
    assert_twins(context, twin)
    with context._scheduler.held() as path, pytest.raises(DecodeError, match="at position 88"):
        path.append(10**6)
    assert_twins(context, twin)
