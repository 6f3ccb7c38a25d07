"""The structure of llama.cpp's sequence state: parse, check, sort, slice, join.

A sequence state, as ``llama_state_seq_get_data`` writes it, is ``magic u32, seq_id i32`` and a run
of little-endian blocks without padding, one block per cache that the model's memory has (read in
``llama-kv-cache.cpp`` and ``llama-memory-recurrent.cpp``):

``kv`` block
    ``n_stream u32`` (1, unless the cache is split), and for each stream ``n_cells u32``; if there
    are cells, per cell ``pos i32, n_seq u32 (1)``, 12 more bytes where positions have several
    dimensions (M-RoPE), ``seq_id i32`` (written, never read); ``v_trans u32, n_layer u32``; per
    layer ``type i32, row_bytes u64`` and the K rows; then the same for V, or with ``v_trans``
    ``type i32, element_bytes u32, n_embd u32`` and V turned.
``recurrent`` block
    ``n_cells u32`` (0 or 1); per cell ``pos i32, n_seq u32 (0)``; ``s_trans u32, n_layer u32``; per
    recurrent layer ``type i32, row_bytes u64`` and the R row; then the same for S.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .blocks import Block, ByteArray, LayoutError, Reader, parse_kv, parse_recurrent
from .buffer import empty_bytes
from .shape import RowPlace, Shape, Structure, Tensor, row_places, state_bytes

__all__ = [
    "HEADER",
    "ByteArray",
    "LayoutError",
    "RowPlace",
    "SequenceState",
    "Shape",
    "Structure",
    "Tensor",
    "join",
    "row_places",
    "state_bytes",
]

Buffer: TypeAlias = bytes | bytearray | memoryview | ByteArray

_HEADER = struct.Struct("<Ii")
_ONE_STREAM = np.frombuffer(struct.pack("<I", 1), np.uint8)
HEADER = _HEADER.pack(0xAF143CD8, 0)
"""What stands in front of a state in memory; in a file it is left out. The id is never read."""


class SequenceState:
    """A parsed sequence state: a view of its bytes, with the offsets of its parts.

    Parameters
    ----------
    data : bytes-like
        The state with its header.
    structure : Structure
        The structure that the model's memory writes.
    most_streams : int
        1 or, for states of a context with a split cache, its number of sequences.

    Raises
    ------
    LayoutError
        When the bytes are not exactly one state of that structure.
    """

    def __init__(self, data: Buffer, structure: Structure, most_streams: int = 1) -> None:
        self.data = np.frombuffer(data, np.uint8)
        self.structure = structure
        reader = Reader(self.data)
        magic = reader.unpack(_HEADER, "header")[0]
        if magic != struct.unpack_from("<I", HEADER)[0]:
            raise LayoutError(f"magic {magic:#010x} is not that of a sequence state")
        blocks: list[Block] = []
        ends = [reader.offset]
        for kind in structure.blocks:
            if kind == "kv":
                blocks.append(parse_kv(reader, structure, most_streams))
            else:
                blocks.append(parse_recurrent(reader, structure))
            ends.append(reader.offset)
        if reader.offset != self.data.size:
            raise LayoutError(f"{self.data.size - reader.offset} bytes too many after the state")
        if len({block.transposed for block in blocks if block.kind == "kv" and block.n_cells}) > 1:
            raise LayoutError("V is transposed in one block and not in another")
        self.blocks = tuple(blocks)
        self._ends = tuple(ends)

    @classmethod
    def infer(cls, data: Buffer, candidates: Iterable[Structure]) -> SequenceState | None:
        """Parse a state written by llama.cpp with the first structure that fits exactly."""
        for structure in candidates:
            try:
                return cls(data, structure)
            except LayoutError:
                continue
        return None

    @property
    def shape(self) -> Shape:
        """The tensors of each block, for comparison with a context's."""
        return Shape(
            tuple(block.tensors for block in self.blocks),
            any(block.transposed for block in self.blocks),
            tuple(block.n_layer for block in self.blocks),
        )

    @property
    def row_places(self) -> tuple[RowPlace, ...]:
        """The places of each tensor's rows."""
        return tuple(
            RowPlace(offset, offset + tensor.row_bytes * block.n_cells, tensor.ggml_type)
            for block in self.blocks
            for tensor, offset in zip(block.tensors, block.offsets, strict=True)
        )

    @property
    def n_cells(self) -> int:
        """The number of cells of the first block with tokens; 0 for purely recurrent memory."""
        return next((block.n_cells for block in self.blocks if block.kind == "kv"), 0)

    def check_positions(self, start: int, stop: int, window: int = 0) -> None:
        """Check that the cells have the positions ``start`` to ``stop - 1``.

        Parameters
        ----------
        start, stop : int
            The token range.
        window : int
            Minimum number of positions in a sliding-window cache; 0 if there is none.

        Raises
        ------
        LayoutError
            When a position is missing, duplicate or out of range.
        """
        caches = 0
        for block in self.blocks:
            if block.kind == "recurrent":
                if block.positions.tolist() != [stop - 1]:
                    raise LayoutError(
                        f"recurrent state at {block.positions.tolist()}, not at {stop - 1}"
                    )
                continue
            caches += 1
            first = max(start, stop - window) if caches > 1 else start
            ordered = np.sort(block.positions)
            if caches > 1 and ordered.size:
                first = min(first, max(start, int(ordered[0])))
            if not np.array_equal(ordered, np.arange(first, stop, dtype=np.int32)):
                low, high = (int(ordered[0]), int(ordered[-1])) if ordered.size else (None, None)
                raise LayoutError(
                    f"{ordered.size} cells from position {low} to {high}, "
                    f"not one each for {first} to {stop - 1}"
                )

    @property
    def is_split(self) -> bool:
        """Whether a cache was split into streams; :func:`join` puts them together."""
        return any(
            bool(np.any(self.block_bytes(index)[:4] != _ONE_STREAM))
            for index, block in enumerate(self.blocks)
            if block.kind == "kv"
        )

    def is_sorted(self) -> bool:
        """Return whether the cells of every block are in order of position."""
        return all(bool((np.diff(block.positions) > 0).all()) for block in self.blocks)

    def covers(self, start: int, stop: int) -> bool:
        """Return whether every cache, including sliding windows, has a cell for each position.

        Recurrent state stands for all positions up to its own.
        """
        return all(
            block.positions.tolist() == [stop - 1]
            if block.kind == "recurrent"
            else np.array_equal(np.sort(block.positions), np.arange(start, stop))
            for block in self.blocks
        )

    def block_bytes(self, index: int) -> ByteArray:
        """Return the bytes of one block, as a view."""
        return self.data[self._ends[index] : self._ends[index + 1]]

    def slice(self, start: int, stop: int) -> ByteArray:
        """Return the state of the positions ``start`` to ``stop - 1``, in order."""
        return join([self], start, stop)

    def check_extensions(self, tokens: Sequence[int]) -> None:
        """Check the extensions of cells, if they have any: the tokens of text.

        Parameters
        ----------
        tokens : sequence of int
            By position; cells of other positions must not exist.

        Raises
        ------
        LayoutError
            When a cell names another token, or a place in an image.
        """
        if not self.structure.extended_cells:
            return
        expected = np.asarray(tokens, np.int32)
        for block in self.blocks:
            x, y, token = self._cells(block)[:, 8:20].copy().view("<i4").reshape(-1, 3).T
            place = block.positions
            wrong = (token != expected[place]) | (x != y) | ((x != place) & (x != 0))
            if wrong.any():
                at = int(wrong.argmax())
                raise LayoutError(
                    f"the cell of position {place[at]} holds token {token[at]} at {x[at]}, {y[at]}"
                )

    def mark_cells(self, mark: int) -> None:
        """Write ``mark`` as each cell's sequence id, which llama.cpp skips."""
        for block in self.blocks:
            self._cells(block)[:, -4:] = np.frombuffer(struct.pack("<i", mark), np.uint8)

    def cell_marks(self) -> set[int]:
        """Return the sequence ids of the cells."""
        marks: set[int] = set()
        for block in self.blocks:
            marks.update(np.unique(self._cells(block)[:, -4:].copy().view("<i4")).tolist())
        return marks

    def _cells(self, block: Block) -> ByteArray:
        """What a block says of its cells, a row each; a view. None for recurrent memory."""
        width = self.structure.cell_bytes
        n_cells = block.n_cells if block.kind == "kv" else 0
        return self.data[block.cells : block.cells + n_cells * width].reshape(n_cells, width)


def join(
    states: Sequence[SequenceState],
    start: int | None = None,
    stop: int | None = None,
    *,
    whole: bool = False,
) -> ByteArray:
    """Return one state with the cells of several, in order of position.

    Parameters
    ----------
    states : sequence of SequenceState
        Of one structure and shape, with cells of distinct positions.
    start, stop : int, optional
        Keep only the positions ``start`` to ``stop - 1``.
    whole : bool
        Whether the states are consecutive pieces of one: recurrent state is then the last one's.

    Returns
    -------
    ndarray of uint8
        One sequence state.

    Raises
    ------
    LayoutError
        When the shapes differ, or the memory has recurrent state, which belongs to no range.
    """
    structure = states[0].structure
    if any(state.structure != structure for state in states):
        raise LayoutError("states of different structures cannot be joined")
    if "recurrent" in structure.blocks and not whole:
        raise LayoutError("recurrent state belongs to one position and cannot be cut or joined")
    pieces: list[ByteArray] = [np.frombuffer(HEADER, np.uint8)]
    for index, kind in enumerate(structure.blocks):
        if kind == "recurrent":
            pieces.append(states[-1].block_bytes(index))
            continue
        filled = [s for s in states if s.blocks[index].n_cells]
        pieces.extend(_join_block(filled, index, start, stop))
    return np.concatenate(pieces, out=empty_bytes(sum(piece.size for piece in pieces)))


def _join_block(
    states: Sequence[SequenceState], index: int, start: int | None, stop: int | None
) -> list[ByteArray]:
    if not states:
        return [_packed("<II", 1, 0)]
    blocks = [state.blocks[index] for state in states]
    first = blocks[0]
    if any(b.tensors != first.tensors or b.transposed != first.transposed for b in blocks):
        raise LayoutError("states of different shapes cannot be joined")
    positions = np.concatenate([b.positions for b in blocks])
    order = np.argsort(positions, kind="stable")
    ordered = positions[order]
    keep = np.ones(ordered.size, bool)
    if start is not None:
        keep &= ordered >= start
    if stop is not None:
        keep &= ordered < stop
    order = order[keep]
    if order.size == 0:
        return [_packed("<II", 1, 0)]
    if (np.diff(ordered[keep]) == 0).any():
        raise LayoutError("two cells have the same position")
    # A run of consecutive cells is a view, so nothing is copied twice.
    take: slice | npt.NDArray[np.intp] = order
    if (np.diff(order) == 1).all():
        take = slice(int(order[0]), int(order[-1]) + 1)

    in_order = isinstance(take, slice) and order.size == positions.size

    def rows(offsets: Sequence[int], width: int) -> list[ByteArray]:
        tables = [
            state.data[offset : offset + block.n_cells * width].reshape(block.n_cells, width)
            for state, block, offset in zip(states, blocks, offsets, strict=True)
        ]
        if not in_order:
            table = tables[0] if len(tables) == 1 else np.concatenate(tables)
            tables = [table[take]]
        return [table.reshape(-1) for table in tables]

    def columns(offsets: Sequence[int], tensor: Tensor) -> ByteArray:
        element = tensor.row_bytes // tensor.n_embd
        tables = [
            state.data[offset : offset + block.n_cells * tensor.row_bytes].reshape(
                tensor.n_embd, block.n_cells, element
            )
            for state, block, offset in zip(states, blocks, offsets, strict=True)
        ]
        table = tables[0] if len(tables) == 1 else np.concatenate(tables, axis=1)
        return table[:, take].reshape(-1)

    pieces = [
        _packed("<II", 1, order.size),
        *rows([b.cells for b in blocks], states[0].structure.cell_bytes),
        _packed("<II", int(first.transposed), first.n_layer),
    ]
    for t, tensor in enumerate(first.tensors):
        offsets = [b.offsets[t] for b in blocks]
        if tensor.n_embd:
            element = tensor.row_bytes // tensor.n_embd
            pieces.append(_packed("<iII", tensor.ggml_type, element, tensor.n_embd))
            pieces.append(columns(offsets, tensor))
        else:
            pieces.append(_packed("<iQ", tensor.ggml_type, tensor.row_bytes))
            pieces.extend(rows(offsets, tensor.row_bytes))
    return pieces


def _packed(layout: str, *values: int) -> ByteArray:
    return np.frombuffer(struct.pack(layout, *values), np.uint8)
