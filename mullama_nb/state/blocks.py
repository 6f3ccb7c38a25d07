"""Parsing blocks of a sequence state, with every length checked before use."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .shape import BlockKind, Structure, Tensor

__all__ = ["Block", "ByteArray", "LayoutError", "Reader", "parse_kv", "parse_recurrent"]

ByteArray: TypeAlias = npt.NDArray[np.uint8]

_MAX_LAYERS = 1 << 12
_NUMBER, _TWO_NUMBERS = struct.Struct("<I"), struct.Struct("<II")
_ROW, _TURNED_ROW = struct.Struct("<iQ"), struct.Struct("<iII")


class LayoutError(ValueError):
    """The bytes are not a sequence state of this structure."""


@dataclass(frozen=True)
class Block:
    """One parsed block; offsets point into the state's buffer."""

    kind: BlockKind
    n_cells: int
    cells: int  # offset of the first cell's description
    positions: npt.NDArray[np.int32]
    n_layer: int = 0
    tensors: tuple[Tensor, ...] = ()
    offsets: tuple[int, ...] = ()  # of each tensor's rows
    transposed: bool = False


class Reader:
    """Bounds-checked reads.

    Parameters
    ----------
    data : ndarray of uint8
    """

    def __init__(self, data: ByteArray) -> None:
        self.data = data
        self.bytes = data.data
        self.offset = 0

    def take(self, n_bytes: int, *what: object) -> int:
        """Skip a number of bytes and return where they begin; ``what`` is for the error."""
        left = self.data.size - self.offset
        if n_bytes > left:
            words = " ".join(map(str, what))
            raise LayoutError(f"{words} needs {n_bytes} bytes at {self.offset}, {left} are left")
        start = self.offset
        self.offset += n_bytes
        return start

    def unpack(self, layout: struct.Struct, *what: object) -> tuple[int, ...]:
        """Read numbers."""
        return layout.unpack_from(self.bytes, self.take(layout.size, *what))

    def u32(self, what: str) -> int:
        """Read one unsigned number."""
        return self.unpack(_NUMBER, what)[0]


def _row(reader: Reader, *what: object) -> Tensor:
    return Tensor(*reader.unpack(_ROW, *what))


def _turned_row(reader: Reader, *what: object) -> Tensor:
    ggml_type, element, n_embd = reader.unpack(_TURNED_ROW, *what)
    if n_embd == 0:
        raise LayoutError(f"{' '.join(map(str, what))} claims rows of no elements")
    return Tensor(ggml_type, element * n_embd, n_embd)


def parse_kv(reader: Reader, structure: Structure, most_streams: int = 1) -> Block:
    """Read a ``kv`` block.

    Parameters
    ----------
    reader : Reader
    structure : Structure
    most_streams : int
        The maximum number of streams. A split cache has one for each sequence; all of them are
        written, and the unused ones are empty.

    Raises
    ------
    LayoutError
        When the bytes are not such a block.
    """
    n_stream = reader.u32("stream count")
    if not 1 <= n_stream <= most_streams:
        allowed = "1" if most_streams == 1 else f"1 to {most_streams}"
        raise LayoutError(f"{n_stream} streams; a sequence has {allowed}")
    block = Block("kv", 0, reader.offset, np.zeros(0, np.int32))
    for _ in range(n_stream):
        n_cells = reader.u32("cell count")
        if n_cells and block.n_cells:
            raise LayoutError("cells of one sequence in two streams")
        if n_cells:
            block = _parse_stream(reader, structure, n_cells)
    return block


def _parse_stream(reader: Reader, structure: Structure, n_cells: int) -> Block:
    width = structure.cell_bytes
    cells = reader.take(n_cells * width, f"{n_cells} cells")
    table = reader.data[cells : cells + n_cells * width].reshape(n_cells, width)
    positions = table[:, 0:4].copy().view("<i4").reshape(-1)
    n_seq = table[:, 4:8].copy().view("<u4").reshape(-1)
    if (n_seq != 1).any():
        raise LayoutError(f"a cell in {int(n_seq[n_seq != 1][0])} sequences; each must be in 1")
    v_trans, n_layer = reader.unpack(_TWO_NUMBERS, "layer header")
    if v_trans > 1 or n_layer > _MAX_LAYERS:
        raise LayoutError(f"a layer header of {v_trans}, {n_layer}")
    tensors: list[Tensor] = []
    offsets: list[int] = []
    for part in ("K", "V"):
        # Memory of latent attention (MLA) keeps no V: the block then ends here.
        if part == "V" and reader.offset == reader.data.size:
            break
        for layer in range(n_layer):
            read = _turned_row if part == "V" and v_trans else _row
            tensor = read(reader, part, "of layer", layer)
            tensors.append(tensor)
            offsets.append(reader.take(tensor.row_bytes * n_cells, "rows of", part, layer))
    return Block(
        "kv", n_cells, cells, positions, n_layer, tuple(tensors), tuple(offsets), bool(v_trans)
    )


def parse_recurrent(reader: Reader, structure: Structure) -> Block:
    """Read a ``recurrent`` block.

    Raises
    ------
    LayoutError
        When the bytes are not such a block.
    """
    n_cells = reader.u32("recurrent cell count")
    if n_cells > 1:  # two or more abort the process in llama.cpp
        raise LayoutError(f"{n_cells} recurrent cells; a sequence has at most 1")
    cells = reader.take(8 * n_cells, "recurrent cell")
    positions = np.zeros(n_cells, np.int32)
    if n_cells:
        position, n_seq = struct.unpack_from("<iI", reader.data.data, cells)
        if n_seq != 0:
            raise LayoutError(f"a recurrent cell that names {n_seq} sequences; it must name none")
        positions[0] = position
    s_trans, n_layer = reader.unpack(_TWO_NUMBERS, "recurrent layer header")
    if s_trans != 0 or n_layer > _MAX_LAYERS:
        raise LayoutError(f"a recurrent layer header of {s_trans}, {n_layer}")
    tensors: list[Tensor] = []
    offsets: list[int] = []
    for part in ("R", "S"):
        for layer in range(structure.n_recurrent):
            tensor = _row(reader, part, "of recurrent layer", layer)
            tensors.append(tensor)
            offsets.append(reader.take(tensor.row_bytes * n_cells, "row of", part, layer))
    return Block("recurrent", n_cells, cells, positions, n_layer, tuple(tensors), tuple(offsets))
