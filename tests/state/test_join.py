"""Slices of real states are what llama.cpp writes for them, and join to the whole again."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from state.helper import STRUCTURES, ModelMaker, bare_context, context_of, some_tokens

from mullama_nb.state.layout import HEADER, LayoutError, SequenceState, join

Bytes = npt.NDArray[np.uint8]
Whole = Callable[[str, bool], SequenceState]

N_TOKENS = 40
KINDS = [
    ("llama", True),
    ("llama", False),
    ("qwen2vl", True),
    ("qwen2vl", False),
    ("gemma3", True),
    ("gemma3", False),
    ("gemma2", True),
]
kinds = pytest.mark.parametrize(("architecture", "flash_attention"), KINDS)


@pytest.fixture(scope="module")
def whole_of(tiny: ModelMaker) -> Whole:
    """States with all rows, those of sliding windows included, each worked out once."""
    known: dict[tuple[str, bool], SequenceState] = {}

    def make(architecture: str, flash_attention: bool) -> SequenceState:
        key = architecture, flash_attention
        if key not in known:
            with context_of(tiny(architecture), flash_attention=flash_attention) as context:
                context.evaluate(some_tokens(N_TOKENS))
                known[key] = SequenceState(context.capture(0).data, STRUCTURES[architecture])
                known[key].mark_cells(0)  # the rows were read through a scratch sequence
                known[key].data[:8] = np.frombuffer(HEADER, np.uint8)
        return known[key]

    return make


def reordered(state: SequenceState, order: Sequence[int]) -> SequenceState:
    """The same cells in another order, as llama.cpp lists them after cells were used again."""
    data = state.data.copy()
    for block in state.blocks:
        n = block.n_cells
        width = state.structure.cell_bytes
        cells = data[block.cells : block.cells + n * width].reshape(n, width)
        cells[:] = cells[list(order)]
        for tensor, offset in zip(block.tensors, block.offsets, strict=True):
            rows = data[offset : offset + n * tensor.row_bytes]
            if tensor.n_embd:
                turned = rows.reshape(tensor.n_embd, n, -1)
                turned[:] = turned[:, list(order)]
            else:
                plain = rows.reshape(n, -1)
                plain[:] = plain[list(order)]
    return SequenceState(data, state.structure)


@pytest.mark.slow
@kinds
@settings(max_examples=25)
@given(cuts=st.sets(st.integers(1, N_TOKENS - 1)), shuffle=st.randoms())
def test_slices_join_to_the_whole(
    whole_of: Whole, architecture: str, flash_attention: bool, cuts: set[int], shuffle: Random
) -> None:
    whole = whole_of(architecture, flash_attention)
    edges = [0, *sorted(cuts), N_TOKENS]
    slices = [
        SequenceState(whole.slice(start, stop), whole.structure) for start, stop in pairwise(edges)
    ]
    for piece, (start, stop) in zip(slices, pairwise(edges), strict=True):
        piece.check_positions(start, stop)
        assert piece.covers(start, stop)
    shuffle.shuffle(slices)
    assert join(slices).tobytes() == whole.data.tobytes()


@kinds
@settings(max_examples=25)
@given(order=st.permutations(range(N_TOKENS)))
def test_cells_in_any_order_are_sorted(
    whole_of: Whole, architecture: str, flash_attention: bool, order: list[int]
) -> None:
    whole = whole_of(architecture, flash_attention)
    state = reordered(whole, order)
    state.check_positions(0, N_TOKENS)
    assert state.is_sorted() == (order == sorted(order))
    assert join([state]).tobytes() == whole.data.tobytes()


@pytest.mark.parametrize("flash_attention", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "qwen2vl"])
def test_a_slice_is_what_llama_cpp_writes(
    tiny: ModelMaker, architecture: str, flash_attention: bool
) -> None:
    with bare_context(tiny(architecture), flash_attention=flash_attention) as bare:
        bare.decode(some_tokens(N_TOKENS))
        whole = SequenceState(bare.state(), STRUCTURES[architecture])
        for start, stop in ((0, 1), (0, N_TOKENS), (7, 8), (5, 31), (39, 40)):
            theirs = SequenceState(bare.range_state(start, stop), STRUCTURES[architecture])
            theirs.mark_cells(0)
            assert whole.slice(start, stop)[8:].tobytes() == theirs.data[8:].tobytes()


@pytest.mark.parametrize("architecture", ["llama", "qwen2vl", "gemma3"])
def test_cells_that_llama_cpp_used_again_are_sorted(tiny: ModelMaker, architecture: str) -> None:
    """A sequence that goes on in cells which another one has freed in front of it."""
    tokens = some_tokens(20)
    with bare_context(tiny(architecture)) as bare:
        bare.decode(some_tokens(8, seed=1), sequence=1)
        bare.decode(tokens[:10])
        bare.remove(1)
        bare.decode(tokens[10:14], 10)
        bare.decode(tokens[14:], 14)
        raw = bare.state()
        state = SequenceState(raw, STRUCTURES[architecture])
        assert not state.is_sorted()
        state.check_positions(0, 20, 32)
        ordered = join([state])
        bare.remove(0)
        assert bare.set_state(ordered) == ordered.size
        again = bare.state()
    assert SequenceState(again, state.structure).is_sorted()
    assert again[8:].tobytes() == ordered[8:].tobytes()
    assert sorted(again.tolist()) == sorted(raw.tolist())


def test_a_part_of_a_window_is_cut_by_position(tiny: ModelMaker) -> None:
    """A state that llama.cpp wrote whole holds the window alone in its second cache."""
    with bare_context(tiny("gemma3")) as bare:
        bare.decode(some_tokens(N_TOKENS))
        state = SequenceState(bare.state(), STRUCTURES["gemma3"])
    part = SequenceState(state.slice(0, 4), state.structure)
    assert [block.n_cells for block in part.blocks] == [4, 0]
    part = SequenceState(state.slice(6, 12), state.structure)
    assert [block.positions.tolist() for block in part.blocks] == [[*range(6, 12)], [*range(8, 12)]]


def test_nothing_is_left_of_no_positions(whole_of: Whole) -> None:
    whole = whole_of("gemma3", True)
    empty = SequenceState(whole.slice(5, 5), whole.structure)
    assert [block.n_cells for block in empty.blocks] == [0, 0]
    assert empty.data.size == 8 + 2 * 8
    first = SequenceState(whole.slice(0, 3), whole.structure)
    rest = SequenceState(whole.slice(3, N_TOKENS), whole.structure)
    assert join([empty, rest, empty, first]).tobytes() == whole.data.tobytes()


def test_positions_that_meet_twice_are_refused(whole_of: Whole) -> None:
    whole = whole_of("llama", True)
    left = SequenceState(whole.slice(0, 11), whole.structure)
    right = SequenceState(whole.slice(10, 20), whole.structure)
    with pytest.raises(LayoutError, match="same position"):
        join([left, right])
    assert join([left, right], 11, 20).tobytes() == whole.slice(11, 20).tobytes()


def test_states_of_other_models_are_not_joined(tiny: ModelMaker, whole_of: Whole) -> None:
    whole = whole_of("llama", True)
    with pytest.raises(LayoutError, match="different structures"):
        join([whole, whole_of("qwen2vl", True)])
    with pytest.raises(LayoutError, match="different shapes"):
        join([whole, whole_of("llama", False)])
    with bare_context(tiny("lfm2")) as bare:
        bare.decode(some_tokens(4))
        state = SequenceState(bare.state(), STRUCTURES["lfm2"])
    with pytest.raises(LayoutError, match="cannot be cut or joined"):
        state.slice(0, 2)


def test_join_keeps_what_cells_say(whole_of: Whole) -> None:
    """Marks and extensions travel with their cells."""
    whole = whole_of("qwen2vl", True)
    piece = SequenceState(whole.slice(10, 20), whole.structure)
    piece.mark_cells(77)
    both = join([SequenceState(whole.slice(0, 10), whole.structure), piece])
    marks = [struct.unpack_from("<i", both.data, 16 + 24 * i + 20)[0] for i in range(20)]
    assert marks == [0] * 10 + [77] * 10
    SequenceState(both, whole.structure).check_extensions(some_tokens(N_TOKENS))
