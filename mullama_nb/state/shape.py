"""What a model's memory writes: which blocks, which tensors in them, and how many bytes."""

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
    """Which blocks a model's memory writes.

    Parameters
    ----------
    blocks : tuple of {"kv", "recurrent"}
        In the order in which they are written.
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
        """Bytes that describe one cell of a ``kv`` block, beside its rows."""
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
    """What must agree between a state and a context.

    Equal shapes mean that llama.cpp would take the bytes; they say nothing of the weights.

    Parameters
    ----------
    blocks : tuple of tuple of Tensor
        Per block its tensors, in order.
    transposed : bool
        Whether V is transposed, as it is without flash attention.
    layers : tuple of int
        The number of layers that each block names. A recurrent block names those of the whole
        model, more than it has tensors for.
    """

    blocks: tuple[tuple[Tensor, ...], ...]
    transposed: bool
    layers: tuple[int, ...] = ()

    def disagreement(self, other: Shape) -> str | None:
        """Name the first difference to ``other`` in words, None when there is none."""
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
    """Where the rows of one tensor lie in a state with its header, and the ggml type of them."""

    start: int
    stop: int
    ggml_type: int


def row_places(
    structure: Structure, shape: Shape, n_cells: int, window: int = 0
) -> tuple[RowPlace, ...]:
    """Where a state of so many cells has its rows, in order.

    Parameters
    ----------
    structure : Structure
    shape : Shape
    n_cells : int
        Tokens; at least 1.
    window : int
        Cells that a sliding-window cache writes at most. 0: all of them.
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
    """The size of a sequence state with its header; parameters as of :func:`row_places`."""
    return row_places(structure, shape, n_cells, window)[-1].stop
