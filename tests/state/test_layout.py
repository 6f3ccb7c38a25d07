"""Real states of every kind of memory are read to the last byte, and nothing else is taken."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from state.helper import STRUCTURES, ModelMaker, bare_context, some_tokens

from mullama_nb.state.layout import (
    HEADER,
    LayoutError,
    SequenceState,
    Shape,
    Structure,
    Tensor,
    row_places,
    state_bytes,
)

Bytes = npt.NDArray[np.uint8]
State = Callable[..., Bytes]

N_TOKENS = 40
WINDOW = 32
KINDS = [(name, True) for name in STRUCTURES] + [
    ("llama", False),
    ("qwen2vl", False),
    ("gemma3", False),
    ("lfm2", False),
    ("lfm2swa", False),
]
kinds = pytest.mark.parametrize(("architecture", "flash_attention"), KINDS)


@pytest.fixture(scope="module")
def state_of(tiny: ModelMaker) -> State:
    """States that llama.cpp itself wrote, each worked out once."""
    known: dict[tuple[str, bool, int], Bytes] = {}

    def make(architecture: str, flash_attention: bool = True, n: int = N_TOKENS) -> Bytes:
        key = architecture, flash_attention, n
        if key not in known:
            with bare_context(tiny(architecture), flash_attention=flash_attention) as bare:
                bare.decode(some_tokens(n))
                known[key] = bare.state()
        return known[key].copy()

    return make


def written_again(state: SequenceState) -> bytes:
    """The bytes of a state, put together from what was read in it."""
    out = [HEADER]
    for block in state.blocks:
        cell = state.structure.cell_bytes if block.kind == "kv" else 8
        if block.kind == "kv":
            out.append(struct.pack("<I", 1))
        out.append(struct.pack("<I", block.n_cells))
        out.append(state.data[block.cells : block.cells + cell * block.n_cells].tobytes())
        out.append(struct.pack("<II", int(block.transposed), block.n_layer))
        for tensor, offset in zip(block.tensors, block.offsets, strict=True):
            if tensor.n_embd:
                element = tensor.row_bytes // tensor.n_embd
                out.append(struct.pack("<iII", tensor.ggml_type, element, tensor.n_embd))
            else:
                out.append(struct.pack("<iQ", tensor.ggml_type, tensor.row_bytes))
            rows = state.data[offset : offset + tensor.row_bytes * block.n_cells]
            out.append(rows.tobytes())
    return b"".join(out)


# -- every byte is accounted for -----------------------------------------------------------------


@kinds
def test_every_byte_is_read(state_of: State, architecture: str, flash_attention: bool) -> None:
    data = state_of(architecture, flash_attention)
    state = SequenceState(data, STRUCTURES[architecture])
    assert written_again(state)[8:] == data[8:].tobytes()  # the header names a sequence
    assert state.shape.transposed == (not flash_attention)


@kinds
def test_size_and_places_of_rows_are_known_beforehand(
    state_of: State, architecture: str, flash_attention: bool
) -> None:
    structure = STRUCTURES[architecture]
    shape = SequenceState(state_of(architecture, flash_attention, 1), structure).shape
    for n in (1, WINDOW, N_TOKENS):
        state = SequenceState(state_of(architecture, flash_attention, n), structure)
        assert state_bytes(structure, shape, n, WINDOW) == state.data.size
        assert row_places(structure, shape, n, WINDOW) == state.row_places


@kinds
def test_positions_of_a_real_state_are_right(
    state_of: State, architecture: str, flash_attention: bool
) -> None:
    state = SequenceState(state_of(architecture, flash_attention), STRUCTURES[architecture])
    state.check_positions(0, N_TOKENS, WINDOW)
    assert state.is_sorted()
    whole = architecture not in {"gemma3", "gemma2", "lfm2swa"}
    assert state.covers(0, N_TOKENS) == whole
    for start, stop in ((1, N_TOKENS), (0, N_TOKENS - 1), (0, N_TOKENS + 1)):
        if start and STRUCTURES[architecture].blocks == ("recurrent",):
            continue  # it stands for its last position, wherever it began
        with pytest.raises(LayoutError, match=r"position|recurrent"):
            state.check_positions(start, stop, WINDOW)


@pytest.mark.parametrize("architecture", STRUCTURES)
def test_structure_is_found(state_of: State, architecture: str) -> None:
    candidates = [
        Structure(blocks, n, cells)
        for cells in (True, False)
        for n in range(5)
        for blocks in {s.blocks for s in STRUCTURES.values()}
        if n == 0 or "recurrent" in blocks
    ]
    found = SequenceState.infer(state_of(architecture), candidates)
    assert found is not None
    expected = STRUCTURES[architecture]
    assert (found.structure.blocks, found.structure.n_recurrent) == (
        expected.blocks,
        expected.n_recurrent,
    )
    if "kv" in expected.blocks:
        assert found.structure == expected


def test_shape_says_what_a_row_takes(state_of: State) -> None:
    heads, size, layers = 2, 16, 4
    f16 = 1
    expected = Shape(((Tensor(f16, 2 * heads * size),) * 2 * layers,), False, (layers,))
    assert SequenceState(state_of("llama"), STRUCTURES["llama"]).shape == expected
    turned = SequenceState(state_of("llama", False), STRUCTURES["llama"]).shape
    assert turned.blocks[0][layers:] == (Tensor(f16, 2 * heads * size, heads * size),) * layers


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Shape(((Tensor(1, 64),),) * 2, False, (1,)), "1 cache blocks against 2"),
        (Shape(((Tensor(1, 64),),), True, (1,)), "flash attention on against off"),
        (Shape(((Tensor(1, 64),) * 2,), False, (1,)), "1 cached tensors against 2"),
        (
            Shape(((Tensor(8, 68),),), False, (1,)),
            "f16 with 64 bytes a row against q8_0 with 68 bytes a row",
        ),
        (Shape(((Tensor(99, 64),),), False, (1,)), "against ggml type 99"),
        (Shape(((Tensor(1, 64),),), False, (3,)), "1 layers against 3"),
    ],
)
def test_shapes_disagree_in_words(other: Shape, words: str) -> None:
    shape = Shape(((Tensor(1, 64),),), False, (1,))
    assert shape.disagreement(shape) is None
    assert words in str(shape.disagreement(other))


# -- nothing else is taken -----------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "qwen2vl", "gemma3", "lfm2swa", "mamba"])
def test_every_other_length_is_refused(state_of: State, architecture: str) -> None:
    data = state_of(architecture, True, 1)
    structure = STRUCTURES[architecture]
    shape = SequenceState(data, structure).shape
    step = max(1, data.size // 3000)
    for n in {*range(0, data.size, step), *range(200), *range(data.size - 200, data.size)}:
        try:
            shorter = SequenceState(data[:n], structure)
        except LayoutError:
            continue
        # Where K ends: latent attention keeps no more, and has another shape.
        assert "cached tensors" in str(shorter.shape.disagreement(shape))
    with pytest.raises(LayoutError, match="too many"):
        SequenceState(np.append(data, np.uint8(0)), structure)


def test_latent_attention_keeps_no_v(state_of: State) -> None:
    """A block of K alone is a state too, of another shape than one that has V."""
    data = state_of("llama")
    whole = SequenceState(data, STRUCTURES["llama"])
    end_of_k = whole.blocks[0].offsets[4] - 12
    latent = SequenceState(data[:end_of_k], STRUCTURES["llama"])
    assert len(latent.shape.blocks[0]) == 4
    assert latent.shape.disagreement(whole.shape) == "4 cached tensors against 8"


@pytest.mark.parametrize("architecture", ["mamba", "mamba2", "lfm2", "jamba", "lfm2swa"])
def test_two_recurrent_cells_are_refused(state_of: State, architecture: str) -> None:
    """Well-formed as they may be: they would end the process in llama.cpp."""
    data = state_of(architecture)
    state = SequenceState(data, STRUCTURES[architecture])
    block = state.blocks[-1]
    cell = data[block.cells : block.cells + 8].tobytes()
    head = data[block.cells + 8 : block.cells + 16].tobytes()
    forged = data[: block.cells - 4].tobytes() + struct.pack("<I", 2) + 2 * cell + head
    for tensor, offset in zip(block.tensors, block.offsets, strict=True):
        rows = data[offset : offset + tensor.row_bytes].tobytes()
        forged += data[offset - 12 : offset].tobytes() + 2 * rows
    with pytest.raises(LayoutError, match="2 recurrent cells; a sequence has at most 1"):
        SequenceState(forged, state.structure)


def test_rows_of_no_elements_are_refused(state_of: State) -> None:
    data = state_of("llama", False)
    state = SequenceState(data, STRUCTURES["llama"])
    at = state.blocks[0].offsets[4] - 4
    assert struct.unpack_from("<I", data.data, at)[0] == 32
    data[at : at + 4] = 0
    with pytest.raises(LayoutError, match="V of layer 0 claims rows of no elements"):
        SequenceState(data, state.structure)


def header_fields(state: SequenceState) -> list[int]:
    """Where every number stands that says how many of something follow, and its neighbours."""
    at, fields = 8, []
    for block in state.blocks:
        if block.kind == "kv":
            fields.append(at)  # streams
            at += 4
        fields.append(at)  # cells
        cell = state.structure.cell_bytes if block.kind == "kv" else 8
        fields += [at + 4 + i * cell + 4 for i in range(block.n_cells)]  # sequences of a cell
        at += 4 + cell * block.n_cells
        fields += [at, at + 4]  # transposed, layers
        fields += [offset - 12 + part for offset in block.offsets for part in (4, 8)]
        at = max([at + 8, *block.offsets])
        if block.offsets:
            at += block.tensors[-1].row_bytes * block.n_cells
    return fields


@pytest.mark.parametrize("value", [0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@kinds
def test_counts_that_lie_change_the_shape_or_are_refused(
    state_of: State, architecture: str, flash_attention: bool, value: int
) -> None:
    data = state_of(architecture, flash_attention, 2)
    structure = STRUCTURES[architecture]
    honest = SequenceState(data, structure)
    for at in header_fields(honest):
        before = struct.unpack_from("<I", data.data, at)[0]
        if before == value:
            continue
        forged = data.copy()
        forged[at : at + 4] = np.frombuffer(struct.pack("<I", value), np.uint8)
        try:
            state = SequenceState(forged, structure)
        except LayoutError:
            continue
        assert state.shape.disagreement(honest.shape) is not None, f"{before} became {value}"


@given(noise=st.binary(max_size=400), structure=st.sampled_from(list(STRUCTURES.values())))
def test_noise_is_refused(noise: bytes, structure: Structure) -> None:
    for data in (noise, HEADER + noise):
        try:
            state = SequenceState(data, structure)
        except LayoutError:
            continue
        assert written_again(state) == data  # then it says what it is, to the last byte


def test_other_magic_is_refused(state_of: State) -> None:
    data = state_of("llama")
    data[0] ^= 1
    with pytest.raises(LayoutError, match="magic"):
        SequenceState(data, STRUCTURES["llama"])


# -- positions -----------------------------------------------------------------------------------


@given(
    index=st.integers(0, N_TOKENS - 1),
    position=st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-2, N_TOKENS + 2)),
)
@pytest.mark.parametrize("architecture", ["llama", "qwen2vl", "gemma3"])
def test_any_changed_position_is_found(
    state_of: State, architecture: str, index: int, position: int
) -> None:
    data = state_of(architecture)
    state = SequenceState(data, STRUCTURES[architecture])
    for block in state.blocks:
        cell = index % block.n_cells
        at = block.cells + cell * state.structure.cell_bytes
        if position == block.positions[cell]:
            continue
        forged = data.copy()
        forged[at : at + 4] = np.frombuffer(struct.pack("<i", position), np.uint8)
        with pytest.raises(LayoutError, match="cells from position"):
            SequenceState(forged, state.structure).check_positions(0, N_TOKENS, WINDOW)


@pytest.mark.parametrize("architecture", ["mamba", "mamba2", "lfm2", "jamba", "lfm2swa"])
@pytest.mark.parametrize("position", [-(2**31), -1, 0, N_TOKENS - 2, N_TOKENS, 2**31 - 1])
def test_recurrent_state_of_another_position_is_found(
    state_of: State, architecture: str, position: int
) -> None:
    data = state_of(architecture)
    state = SequenceState(data, STRUCTURES[architecture])
    at = state.blocks[-1].cells
    data[at : at + 4] = np.frombuffer(struct.pack("<i", position), np.uint8)
    with pytest.raises(LayoutError, match=f"at \\[{position}\\], not at {N_TOKENS - 1}"):
        SequenceState(data, state.structure).check_positions(0, N_TOKENS, WINDOW)


def test_window_must_reach_back_far_enough(state_of: State) -> None:
    state = SequenceState(state_of("gemma3"), STRUCTURES["gemma3"])
    assert state.blocks[1].n_cells == WINDOW
    state.check_positions(0, N_TOKENS, WINDOW)
    with pytest.raises(LayoutError, match=f"not one each for {N_TOKENS - WINDOW - 1} to"):
        state.check_positions(0, N_TOKENS, WINDOW + 1)


# -- what cells say beside their position --------------------------------------------------------


def test_cells_of_several_dimensions_name_their_token(state_of: State) -> None:
    state = SequenceState(state_of("qwen2vl"), STRUCTURES["qwen2vl"])
    tokens = some_tokens(N_TOKENS)
    state.check_extensions(tokens)
    with pytest.raises(LayoutError, match=f"position 7 holds token {tokens[7]} at 7, 7"):
        state.check_extensions([*tokens[:7], tokens[7] + 1, *tokens[8:]])
    # Plain cells name none, so any tokens go with them.
    SequenceState(state_of("llama"), STRUCTURES["llama"]).check_extensions([0] * N_TOKENS)


@given(
    index=st.integers(0, N_TOKENS - 1),
    field=st.sampled_from([8, 12, 16]),
    value=st.integers(-(2**31), 2**31 - 1),
)
def test_any_changed_extension_is_found(
    state_of: State, index: int, field: int, value: int
) -> None:
    data = state_of("qwen2vl")
    state = SequenceState(data, STRUCTURES["qwen2vl"])
    at = state.blocks[0].cells + index * 24 + field
    if struct.unpack_from("<i", data.data, at)[0] == value:
        return
    data[at : at + 4] = np.frombuffer(struct.pack("<i", value), np.uint8)
    with pytest.raises(LayoutError, match=f"position {index} holds token"):
        SequenceState(data, state.structure).check_extensions(some_tokens(N_TOKENS))


@pytest.mark.parametrize("place", [(0, 0), (5, 5)])
def test_places_of_text_are_its_positions(state_of: State, place: tuple[int, int]) -> None:
    """Or none at all, which models have whose cells name tokens alone."""
    data = state_of("qwen2vl")
    state = SequenceState(data, STRUCTURES["qwen2vl"])
    at = state.blocks[0].cells + 7 * 24 + 8
    data[at : at + 8] = np.frombuffer(struct.pack("<ii", *place), np.uint8)
    if place == (0, 0):
        state.check_extensions(some_tokens(N_TOKENS))
    else:
        with pytest.raises(LayoutError, match=r"position 7 holds token .* at 5, 5"):
            state.check_extensions(some_tokens(N_TOKENS))


@pytest.mark.parametrize("architecture", STRUCTURES)
def test_marks_are_written_and_llama_cpp_reads_past_them(
    tiny: ModelMaker, architecture: str
) -> None:
    with bare_context(tiny(architecture)) as bare:
        bare.decode(some_tokens(N_TOKENS))
        before = bare.state()
        marked = before.copy()
        state = SequenceState(marked, STRUCTURES[architecture])
        state.mark_cells(0x1234)
        has_cells = "kv" in state.structure.blocks
        assert state.cell_marks() == ({0x1234} if has_cells else set())
        assert (marked != before).any() == has_cells
        bare.remove(0)
        assert bare.set_state(marked) == marked.size
        assert bare.state().tobytes() == before.tobytes()


def test_bytes_that_cannot_be_changed_are_not_marked(state_of: State) -> None:
    state = SequenceState(state_of("llama").tobytes(), STRUCTURES["llama"])
    with pytest.raises(ValueError, match="read-only"):
        state.mark_cells(1)
