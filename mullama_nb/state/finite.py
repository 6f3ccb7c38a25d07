"""Whether rows hold numbers: a NaN or an infinity can outlive the sequence that it came with.

llama.cpp multiplies what is left in a cell by zero, in attention by a weight of zero and in
recurrent memory to begin anew, and zero times infinity is not zero.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .blocks import ByteArray, LayoutError
from .layout import SequenceState

__all__ = ["is_finite", "numbers_are_finite"]

# Where in a block of each ggml type the floating point numbers stand (ggml-common.h): bytes of a
# block, bytes of a number, offsets, and the bits of infinity.
_HALF = 0x7C00
_FLOATS: dict[int, tuple[int, int, tuple[int, ...], int]] = {
    0: (4, 4, (0,), 0x7F800000),  # f32
    1: (2, 2, (0,), _HALF),  # f16
    2: (18, 2, (0,), _HALF),  # q4_0
    3: (20, 2, (0, 2), _HALF),  # q4_1
    6: (22, 2, (0,), _HALF),  # q5_0
    7: (24, 2, (0, 2), _HALF),  # q5_1
    8: (34, 2, (0,), _HALF),  # q8_0
    20: (18, 2, (0,), _HALF),  # iq4_nl
    30: (2, 2, (0,), 0x7F80),  # bf16
}
_CHUNK = 1 << 17  # numbers that fit into a core's cache


def is_finite(state: SequenceState) -> bool:
    """Whether no row of a known type holds a NaN or an infinity.

    Raises
    ------
    LayoutError
        When rows are no whole number of their type's blocks.
    """
    return all(
        _rows_are_finite(state.data[offset : offset + tensor.row_bytes * block.n_cells], kind)
        for block in state.blocks
        for tensor, offset in zip(block.tensors, block.offsets, strict=True)
        if (kind := tensor.ggml_type) in _FLOATS
    )


def numbers_are_finite(numbers: npt.NDArray[np.float32]) -> bool:
    """Whether none is a NaN or an infinity."""
    return _rows_are_finite(numbers.view(np.uint8), 0)


def _rows_are_finite(rows: ByteArray, ggml_type: int) -> bool:
    width, size, places, infinity = _FLOATS[ggml_type]
    if rows.size % width:
        raise LayoutError(f"{rows.size} bytes of rows in blocks of {width}")
    table = rows.view(f"<i{size}").reshape(-1, width // size)
    return all(_bits_are_finite(table[:, place // size], infinity) for place in places)


def _bits_are_finite(signed: npt.NDArray[np.signedinteger], infinity: int) -> bool:
    """As integers, what is not finite is the largest of its sign: unsigned, all that is negative.

    So two reductions tell, and neither writes anything.
    """
    size = signed.itemsize
    unsigned = signed.view(f"<u{size}")
    negative_infinity = infinity | 1 << (8 * size - 1)
    for at in range(0, signed.size, _CHUNK):
        if (
            signed[at : at + _CHUNK].max() >= infinity
            or unsigned[at : at + _CHUNK].max() >= negative_infinity
        ):
            return False
    return True
