"""What may happen to a session file, and which of it nobody can know.

A base is a whole session file, or only what llama.cpp reads of it; a mutation makes another file
of it. Whether a mutation may be accepted is worked out here by the format's description: only
where what changed is a row's finite number, a token, or something that is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from state.forge import core_boundaries

from mullama_nb.state.layout import HEADER, SequenceState, Structure

__all__ = ["MUTATIONS", "Base", "Mutation"]

NUMBERS = (0, 1, 2, 3, 255, 256, 2**16, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
NO_NUMBERS = (np.nan, -np.nan, np.inf, -np.inf)
FLOATS = {0: (4, "<f4"), 1: (2, "<f2"), 8: (34, "<f2")}  # f32, f16, and the scales of q8_0

Random = np.random.Generator


@dataclass(frozen=True)
class Base:
    """Bytes to be changed, and what stands where in them.

    Attributes
    ----------
    data : bytes
    core : bytes
        What llama.cpp reads of it: all of it, or its beginning.
    structure : Structure
    edges : tuple of int
        Where parts begin.
    """

    data: bytes
    core: bytes
    structure: Structure
    edges: tuple[int, ...]
    kinds: Mapping[int, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", core_boundaries(self.core, self.structure))

    @property
    def n_tokens(self) -> int:
        return int.from_bytes(self.core[8:12], "little")

    @property
    def state_start(self) -> int:
        return 12 + 4 * self.n_tokens

    def places(self, *kinds: str) -> list[int]:
        """Where something of these kinds stands."""
        return [at for at, kind in self.kinds.items() if kind in kinds]

    def state(self, core: bytes) -> SequenceState:
        return SequenceState(HEADER + core[self.state_start :], self.structure)

    def tensors(self) -> list[tuple[int, int, int]]:
        """Of each tensor that has rows: where they begin, their bytes, and the ggml type."""
        return [
            (self.state_start - len(HEADER) + offset, tensor.row_bytes * block.n_cells, kind)
            for block in self.state(self.core).blocks
            for tensor, offset in zip(block.tensors, block.offsets, strict=True)
            if (kind := tensor.ggml_type) in FLOATS and tensor.row_bytes
        ]

    def why_harmless(self, core: bytes, n_vocab: int) -> str | None:
        """What changed in the core, where nobody can know that it did; None where it must be known.

        Parameters
        ----------
        core : bytes
            Of a file without a checksum, or with one that holds.
        n_vocab : int
            Tokens that there are.
        """
        if len(core) != len(self.core):
            return None
        labels = np.empty(len(core), "U8")
        for start, stop in pairwise([*sorted(self.kinds), len(core)]):
            labels[start:stop] = self.kinds[start]
        before, after = (np.frombuffer(data, np.uint8) for data in (self.core, core))
        changed = set(labels[before != after].tolist())
        known = {"rows", "mark", "position"} | ({"tokens"} - self._named_by_cells())
        tokens = np.frombuffer(core[12 : self.state_start], "<i4")
        if not changed <= known or tokens.min() < 0 or tokens.max() >= n_vocab:
            return None
        state = self.state(core)
        for now, then in zip(state.blocks, self.state(self.core).blocks, strict=True):
            if sorted(now.positions.tolist()) != sorted(then.positions.tolist()):
                return None  # cells may be listed in any order
        if "position" in changed and self.structure.extended_cells:
            return None
        for start, n_bytes, kind in self.tensors():
            width, dtype = FLOATS[kind]
            rows = np.frombuffer(core[start : start + n_bytes], np.uint8).reshape(-1, width)
            scales = rows[:, : np.dtype(dtype).itemsize].copy().view(dtype)
            if not np.isfinite(scales).all():
                return None
        return "other " + " and ".join(sorted(changed)) if changed else "nothing"

    def _named_by_cells(self) -> set[str]:
        return {"tokens"} if self.structure.extended_cells else set()


Mutation = Callable[[Base, Random], bytes]


def _put(data: bytes, at: int, number: int, size: int = 4) -> bytes:
    return data[:at] + (number % 2 ** (8 * size)).to_bytes(size, "little") + data[at + size :]


def _one(random: Random, choices: Any) -> int:
    return int(choices[int(random.integers(len(choices)))])


def flipped(base: Base, random: Random) -> bytes:
    data = bytearray(base.data)
    for _ in range(int(random.integers(1, 9))):
        data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
    return bytes(data)


def flipped_at_edge(base: Base, random: Random) -> bytes:
    data = bytearray(base.data)
    at = _one(random, base.edges) + int(random.integers(8))
    data[min(at, len(data) - 1)] ^= 1 << int(random.integers(8))
    return bytes(data)


def cut(base: Base, random: Random) -> bytes:
    return base.data[: int(random.integers(len(base.data)))]


def cut_at_edge(base: Base, random: Random) -> bytes:
    return base.data[: _one(random, base.edges)]


def longer_or_shorter(base: Base, random: Random) -> bytes:
    at, n = _one(random, [*base.edges, len(base.data)]), int(random.integers(1, 64))
    if random.random() < 0.5:
        return base.data[:at] + random.bytes(n) + base.data[at:]
    return base.data[:at] + base.data[at + n :]


def part_moved(base: Base, random: Random) -> bytes:
    a, b, c = sorted(_one(random, base.edges) for _ in range(3))
    return base.data[:a] + base.data[b:c] + base.data[a:b] + base.data[c:]


def lying_count(base: Base, random: Random) -> bytes:
    at, size = _one(random, base.places("count", "number")), _one(random, (4, 8))
    return _put(base.data, at, _one(random, (*NUMBERS, base.n_tokens - 1, base.n_tokens + 1)), size)


def other_positions(base: Base, random: Random) -> bytes:
    data, places = base.data, base.places("position")

    def read(at: int) -> int:
        return int.from_bytes(data[at : at + 4], "little")

    way = random.random()
    if way < 0.2:  # all of them moved
        by = _one(random, (-2, -1, 1, 2))
        for at in places:
            data = _put(data, at, read(at) + by)
    elif way < 0.4:  # two of them exchanged
        a, b = _one(random, places), _one(random, places)
        first, second = read(a), read(b)
        data = _put(_put(data, a, second), b, first)
    else:
        for _ in range(int(random.integers(1, 4))):
            values = (*NUMBERS, *range(-2, base.n_tokens + 2))
            data = _put(data, _one(random, places), _one(random, values))
    return data


def other_sequences(base: Base, random: Random) -> bytes:
    return _put(base.data, _one(random, base.places("position")) + 4, _one(random, NUMBERS))


def other_places(base: Base, random: Random) -> bytes:
    """What cells say beside their position; where they say nothing, the number of cells."""
    places = base.places("place", "mark") or base.places("count")
    return _put(base.data, _one(random, places), _one(random, (*NUMBERS, 20, 511)))


def other_tokens(base: Base, random: Random) -> bytes:
    at = 12 + 4 * int(random.integers(base.n_tokens))
    return _put(base.data, at, _one(random, (*NUMBERS, 20, 511, 512)))


def no_numbers(base: Base, random: Random) -> bytes:
    tensors = base.tensors()
    start, n_bytes, kind = tensors[int(random.integers(len(tensors)))]
    width, dtype = FLOATS[kind]
    number = np.array(random.choice(NO_NUMBERS), dtype).tobytes()
    places = range(start, start + n_bytes, width)
    data = bytearray(base.data)
    for at in places if random.random() < 0.3 else [_one(random, places)]:
        data[at : at + len(number)] = number
    return bytes(data)


def other_rows(base: Base, random: Random) -> bytes:
    """Rows of small numbers, as a computation could have left them."""
    tensors = base.tensors()
    start, n_bytes, kind = tensors[int(random.integers(len(tensors)))]
    width, dtype = FLOATS[kind]
    rows = np.frombuffer(base.data[start : start + n_bytes], np.uint8).reshape(-1, width).copy()
    noise = random.standard_normal(len(rows)).astype(dtype)
    rows[:, : noise.itemsize] = noise.view(np.uint8).reshape(len(rows), -1)
    return base.data[:start] + rows.tobytes() + base.data[start + n_bytes :]


MUTATIONS: Mapping[str, Mutation] = {
    "bits flipped anywhere": flipped,
    "bits flipped where parts begin": flipped_at_edge,
    "cut anywhere": cut,
    "cut where parts begin": cut_at_edge,
    "bytes put in or left out": longer_or_shorter,
    "a part moved": part_moved,
    "counts, types and sizes that lie": lying_count,
    "positions moved or doubled": other_positions,
    "cells in other sequences": other_sequences,
    "other places, tokens and marks of cells": other_places,
    "other tokens": other_tokens,
    "numbers that are none": no_numbers,
    "other rows": other_rows,
}
