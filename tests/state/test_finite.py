"""A single number that is none is found, wherever it stands, in every type that KV can have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from state.helper import STRUCTURES, ModelMaker, context_of, some_tokens

from mullama_nb.engine.params import KV_CACHE_TYPES
from mullama_nb.state.finite import is_finite, numbers_are_finite, rows_are_finite, spanned
from mullama_nb.state.layout import LayoutError, SequenceState

Bytes = npt.NDArray[np.uint8]
Real = Callable[[str, str], SequenceState]

# Of a block of each type: bytes, the type of its numbers, and where they stand in it.
SCALES = {
    "f32": (4, "<f4", (0,)),
    "f16": (2, "<f2", (0,)),
    "bf16": (2, "bf16", (0,)),
    "q8_0": (34, "<f2", (0,)),
    "q5_1": (24, "<f2", (0, 2)),
    "q5_0": (22, "<f2", (0,)),
    "q4_1": (20, "<f2", (0, 2)),
    "q4_0": (18, "<f2", (0,)),
    "iq4_nl": (18, "<f2", (0,)),
}


def encoded(value: float, dtype: str) -> bytes:
    if dtype == "bf16":
        return np.float32(value).tobytes()[2:]
    return np.array(value, dtype).tobytes()


@pytest.fixture(scope="module")
def real(tiny: ModelMaker) -> Real:
    """Real states of 3 tokens by architecture and KV type, each worked out once."""
    known: dict[tuple[str, str], SequenceState] = {}

    def make(architecture: str, kv_type: str) -> SequenceState:
        if (architecture, kv_type) not in known:
            model = tiny(architecture, head_dim=32, n_layer=2)
            with context_of(model, kv_cache_type=kv_type) as context:
                context.evaluate(some_tokens(3))
                structure, _ = context.layout
                data = context.capture(0).data
            known[architecture, kv_type] = SequenceState(data, structure)
        return known[architecture, kv_type]

    return make


def test_every_type_is_known() -> None:
    assert SCALES.keys() == KV_CACHE_TYPES.keys()
    for name, (block_bytes, _, _) in SCALES.items():
        assert KV_CACHE_TYPES[name].block_bytes == block_bytes


@pytest.mark.slow
@pytest.mark.parametrize("kv_type", SCALES)
@settings(max_examples=40)
@given(data=st.data())
def test_one_bad_number_is_found(real: Real, kv_type: str, data: st.DataObject) -> None:
    honest = real("llama", kv_type)
    assert is_finite(honest)
    block_bytes, dtype, places = SCALES[kv_type]
    block = honest.blocks[0]
    tensor = data.draw(st.sampled_from(range(len(block.tensors))))
    n = block.tensors[tensor].row_bytes * block.n_cells // block_bytes
    index = data.draw(st.integers(0, n - 1))
    place = data.draw(st.sampled_from(places))
    value = data.draw(st.sampled_from([np.nan, -np.nan, np.inf, -np.inf, 65504.0, -65504.0, 0.0]))
    at = block.offsets[tensor] + index * block_bytes + place
    changed = honest.data.copy()
    number = encoded(value, dtype)
    changed[at : at + len(number)] = np.frombuffer(number, np.uint8)
    assert is_finite(SequenceState(changed, honest.structure)) == bool(np.isfinite(value))


@pytest.mark.parametrize("kv_type", ["q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"])
def test_numbers_of_quantised_rows_may_be_anything(real: Real, kv_type: str) -> None:
    """Only scales are floating point; everything else in a block is a small integer."""
    honest = real("llama", kv_type)
    block_bytes, _, places = SCALES[kv_type]
    changed = honest.data.copy()
    block = honest.blocks[0]
    for tensor, offset in zip(block.tensors, block.offsets, strict=True):
        table = changed[offset : offset + tensor.row_bytes * block.n_cells].reshape(-1, block_bytes)
        table[:, max(places) + 2 :] = 0xFF
    assert is_finite(SequenceState(changed, honest.structure))


@pytest.mark.parametrize("architecture", ["mamba", "mamba2", "lfm2", "jamba", "gemma3"])
def test_a_bad_number_is_found_in_every_block(real: Real, architecture: str) -> None:
    honest = real(architecture, "f16")
    assert is_finite(honest)
    for block in honest.blocks:
        for tensor, offset in zip(block.tensors, block.offsets, strict=True):
            if not tensor.row_bytes:
                continue
            number = encoded(-np.inf, {0: "<f4", 1: "<f2"}[tensor.ggml_type])
            last = offset + tensor.row_bytes * block.n_cells
            for at in (offset, last - len(number)):
                changed = honest.data.copy()
                changed[at : at + len(number)] = np.frombuffer(number, np.uint8)
                assert not is_finite(SequenceState(changed, honest.structure))


@pytest.mark.slow
@pytest.mark.parametrize("kv_type", SCALES)
@settings(max_examples=40)
@given(data=st.data())
def test_a_state_may_be_looked_at_in_parts(real: Real, kv_type: str, data: st.DataObject) -> None:
    """A number that is none is seen in one part exactly, wherever the parts are cut."""
    honest = real("gemma3", kv_type)
    block_bytes, dtype, places = SCALES[kv_type]
    start, stop, _ = data.draw(st.sampled_from(honest.row_places))
    index = data.draw(st.integers(0, (stop - start) // block_bytes - 1))
    number = encoded(data.draw(st.sampled_from([np.nan, np.inf, -np.inf])), dtype)
    at = start + index * block_bytes + data.draw(st.sampled_from(places))
    changed = honest.data.copy()
    changed[at : at + len(number)] = np.frombuffer(number, np.uint8)
    size = 2 * data.draw(st.integers(1, changed.size // 2))

    def results(state: npt.NDArray[np.uint8]) -> list[bool]:
        cuts = range(0, state.size, size)
        return [rows_are_finite(state[at : at + size], honest.row_places, at) for at in cuts]

    assert all(results(honest.data))
    assert results(changed).count(False) == 1
    spans = spanned(honest.row_places)
    assert len(spans) == 1 or block_bytes > 2
    assert rows_are_finite(honest.data, spans, 0)
    assert not rows_are_finite(changed, spans, 0)


def test_a_bad_number_is_found_far_inside() -> None:
    """Rows are looked through in pieces; the last one counts as well."""
    numbers = np.ones(1 << 18, np.float32)
    assert numbers_are_finite(numbers)
    for at in (0, (1 << 16) - 1, 1 << 16, (1 << 17) - 1, 1 << 17, (1 << 18) - 1):
        changed = numbers.copy()
        changed[at] = np.nan
        assert not numbers_are_finite(changed)


def test_types_that_are_not_known_are_left_alone(real: Real) -> None:
    honest = real("llama", "f16")
    changed = honest.data.copy()
    at = honest.blocks[0].offsets[0]
    changed[at - 12] = 77
    changed[at : at + 2] = 0xFF
    assert is_finite(SequenceState(changed, honest.structure))


def test_rows_that_are_no_whole_blocks_are_refused(real: Real) -> None:
    honest = real("llama", "f16")
    changed = honest.data.copy()
    changed[honest.blocks[0].offsets[0] - 12] = 8  # q8_0 has blocks of 34 bytes
    with pytest.raises(LayoutError, match="in blocks of 34"):
        is_finite(SequenceState(changed, STRUCTURES["llama"]))
