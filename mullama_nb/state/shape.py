"""The layout that a model's memory writes: its blocks, their tensors, and their sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

__all__ = [
    "BlockKind",
    "RowPlace",
    "Shape",
    "Structure",
    "Tensor",
    "row_places",
    "state_bytes",
]

BlockKind: TypeAlias = Literal["kv", "recurrent"]

_CELL_EXTENSION_BYTES = 12
_HEADER_BYTES = 8
_TENSOR_HEADER_BYTES = 12

_TYPE_NAMES = {
    0: "f32",
    1: "f16",
    2: "q4_0",
    3: "q4_1",
    6: "q5_0",
    7: "q5_1",
    8: "q8_0",
    20: "iq4_nl",
    30: "bf16",
}


@dataclass(frozen=True)
class Structure:
    """The blocks that a model's memory writes.

    Parameters
    ----------
    blocks : tuple of {"kv", "recurrent"}
        In the order of writing.
    n_recurrent : int
        Layers with recurrent state; the format does not store the number.
    extended_cells : bool
        Whether cells carry the 12 bytes of a multi-dimensional position.
    """

    blocks: tuple[BlockKind, ...]
    n_recurrent: int = 0
    extended_cells: bool = False

    @property
    def cell_bytes(self) -> int:
        """The bytes that describe one cell of a ``kv`` block, besides its rows."""
        return 12 + (_CELL_EXTENSION_BYTES if self.extended_cells else 0)


@dataclass(frozen=True)
class Tensor:
    """One layer's K, V, R or S: a ggml type and the bytes of one cell's row.

    ``n_embd`` is 0 except where V is transposed: then a row is ``n_embd`` separate elements.
    """

    ggml_type: int
    row_bytes: int
    n_embd: int = 0

    def __str__(self) -> str:
        name = _TYPE_NAMES.get(self.ggml_type, f"ggml type {self.ggml_type}")
        parts = f" in {self.n_embd} elements" if self.n_embd else ""
        return f"{name} with {self.row_bytes} bytes a row{parts}"


@dataclass(frozen=True)
class Shape:
    """The tensors of a state, which must match a context's.

    Equal shapes mean that llama.cpp would accept the bytes; they do not imply equal weights.

    Parameters
    ----------
    blocks : tuple of tuple of Tensor
        The tensors of each block, in order.
    transposed : bool
        Whether V is transposed, as it is without flash attention.
    layers : tuple of int
        The number of layers in each block. A recurrent block gives that of the whole model, more
        than it has tensors.
    """

    blocks: tuple[tuple[Tensor, ...], ...]
    transposed: bool
    layers: tuple[int, ...] = ()

    def disagreement(self, other: Shape) -> str | None:
        """Return the first difference from ``other`` in words; None if there is none."""
        if len(self.blocks) != len(other.blocks):
            return f"{len(self.blocks)} cache blocks against {len(other.blocks)}"
        if self.transposed != other.transposed:
            words = "off against on" if self.transposed else "on against off"
            return f"flash attention {words} (the V cache lies the other way)"
        for a, b in zip(self.blocks, other.blocks, strict=True):
            if len(a) != len(b):
                return f"{len(a)} cached tensors against {len(b)}"
            for index, (mine, theirs) in enumerate(zip(a, b, strict=True)):
                if mine != theirs:
                    return f"tensor {index} in {mine} against {theirs}"
        if self.layers != other.layers:
            return f"{_numbers(self.layers)} layers against {_numbers(other.layers)}"
        return None


def _numbers(values: tuple[int, ...]) -> str:
    return " and ".join(map(str, values))


class RowPlace(NamedTuple):
    """The place of one tensor's rows in a state with its header, and their ggml type."""

    start: int
    stop: int
    ggml_type: int


def row_places(
    structure: Structure, shape: Shape, n_cells: int, window: int = 0
) -> tuple[RowPlace, ...]:
    """Return the places of the rows in a state of so many cells, in order.

    Parameters
    ----------
    structure : Structure
    shape : Shape
    n_cells : int
        Tokens; at least 1.
    window : int
        Maximum number of cells that a sliding-window cache writes. 0: all of them.
    """
    places: list[RowPlace] = []
    at, caches = _HEADER_BYTES, 0
    for kind, tensors in zip(structure.blocks, shape.blocks, strict=True):
        if kind == "kv":
            caches += 1
            n = min(n_cells, window) if window and caches > 1 else n_cells
            at += 16 + n * structure.cell_bytes
        else:
            n = 1
            at += 20
        for tensor in tensors:
            start = at + _TENSOR_HEADER_BYTES
            at = start + n * tensor.row_bytes
            places.append(RowPlace(start, at, tensor.ggml_type))
    return tuple(places)


def state_bytes(structure: Structure, shape: Shape, n_cells: int, window: int = 0) -> int:
    """Return the size of a sequence state with its header; parameters as in :func:`row_places`."""
    return row_places(structure, shape, n_cells, window)[-1].stop
