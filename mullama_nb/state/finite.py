"""Checking rows for NaN and infinity, which can outlive the sequence that they came with.

llama.cpp multiplies the old contents of a cell by zero, in attention by a weight of zero and in
recurrent memory to reset it, and zero times infinity is not zero.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from .blocks import ByteArray, LayoutError
from .layout import RowPlace, SequenceState

__all__ = ["is_finite", "numbers_are_finite", "rows_are_finite", "spanned"]

# Where in a block of each ggml type sign and exponent of a floating point number stand, two bytes
# in all of them (ggml-common.h): bytes of a block, offsets, and the bits of infinity.
_HALF, _SINGLE, _SIGN = 0x7C00, 0x7F80, 0x8000
_FLOATS: dict[int, tuple[int, tuple[int, ...], int]] = {
    0: (4, (2,), _SINGLE),  # f32
    1: (2, (0,), _HALF),  # f16
    2: (18, (0,), _HALF),  # q4_0
    3: (20, (0, 2), _HALF),  # q4_1
    6: (22, (0,), _HALF),  # q5_0
    7: (24, (0, 2), _HALF),  # q5_1
    8: (34, (0,), _HALF),  # q8_0
    20: (18, (0,), _HALF),  # iq4_nl
    30: (2, (0,), _SINGLE),  # bf16
}
_CHUNK = 1 << 18  # bytes that fit into a core's cache


def is_finite(state: SequenceState) -> bool:
    """Return whether no row of a known type holds a NaN or an infinity.

    Raises
    ------
    LayoutError
        When rows are not a whole number of their type's blocks.
    """
    places = state.row_places
    for start, stop, kind in places:
        if kind in _FLOATS and (stop - start) % (width := _FLOATS[kind][0]):
            raise LayoutError(f"{stop - start} bytes of rows in blocks of {width}")
    return _are_finite(state.data, places)


def numbers_are_finite(numbers: npt.NDArray[np.float32]) -> bool:
    """Return whether no number is a NaN or an infinity."""
    return _are_finite(numbers.view(np.uint8), [RowPlace(0, numbers.nbytes, 0)])


def _are_finite(data: ByteArray, places: Sequence[RowPlace]) -> bool:
    chunks = range(0, data.size, _CHUNK)
    return all(rows_are_finite(data[at : at + _CHUNK], places, at) for at in chunks)


def rows_are_finite(part: ByteArray, places: Sequence[RowPlace], offset: int) -> bool:
    """Return whether the rows in a part of a state are free of NaN and infinity.

    Parameters
    ----------
    part : ndarray of uint8
    places : sequence of RowPlace
        In order, at even offsets, and of whole blocks.
    offset : int
        Where the part begins in the state; even.
    """
    end = offset + part.size
    for index in range(bisect_right(places, offset, key=_stop), len(places)):
        start, stop, kind = places[index]
        if start >= end:
            break
        width, numbers, infinity = _FLOATS.get(kind, (2, (), 0))
        for place in numbers:
            first = start + place
            first += -(-max(0, offset - first) // width) * width
            pairs = part[first - offset : min(stop, end) - offset]
            words = pairs[: pairs.size & ~1].view(np.uint16)[:: width // 2]
            if words.size and not _bits_are_finite(words, infinity):
                return False
    return True


def spanned(places: Iterable[RowPlace]) -> list[RowPlace]:
    """Return the same rows in fewer pieces, which also contain other bytes.

    Numbers of two bytes stand wherever rows follow each other, and the few bytes in between are
    mostly small integers: where a whole piece looks finite, the rows are.
    """
    spans: list[RowPlace] = []
    for kind, group in groupby(places, key=_ggml_type):
        rows = list(group)
        two_bytes = kind in _FLOATS and _FLOATS[kind][0] == 2
        spans += [RowPlace(rows[0].start, rows[-1].stop, kind)] if two_bytes else rows
    return spans


_stop = attrgetter("stop")
_ggml_type = attrgetter("ggml_type")


def _bits_are_finite(words: npt.NDArray[np.uint16], infinity: int) -> bool:
    """As integers, what is not finite is the largest of its sign, and without sign all the largest.

    So one reduction tells where nothing is negative, as of scales, and two tell everywhere; neither
    writes anything.
    """
    largest = np.maximum.reduce(words)
    if largest < infinity:
        return True
    return bool(largest < infinity | _SIGN and np.maximum.reduce(words.view(np.int16)) < infinity)
