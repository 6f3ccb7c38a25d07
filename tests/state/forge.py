"""Session files taken apart and put together by the format's description, not by its code."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from xxhash import xxh3_128

from mullama_nb.state.layout import HEADER, SequenceState, Structure

__all__ = [
    "END",
    "VERSION",
    "Parts",
    "boundaries",
    "core_boundaries",
    "put_together",
    "sealed",
    "take_apart",
]

END = b"MULLAMA\n"
VERSION = 2
_GGSQ = 0x67677371


@dataclass(frozen=True)
class Parts:
    """A session file's contents; ``state`` is without the header that it has in memory."""

    tokens: tuple[int, ...]
    state: bytes
    metadata: bytes = b""
    logits: bytes = b""

    def with_state(self, at: int, data: bytes) -> Parts:
        """The same with some bytes of the state changed."""
        return replace(self, state=self.state[:at] + data + self.state[at + len(data) :])


def take_apart(data: bytes) -> Parts:
    """The parts of a file with a trailer."""
    magic, version, n_tokens = struct.unpack_from("<III", data)
    assert (magic, version) == (_GGSQ, 3)
    assert data.endswith(END)
    state_end, n_metadata, n_logits, trailer_version, zero = struct.unpack_from(
        "<QQQII", data, len(data) - 72
    )
    assert (trailer_version, zero) == (VERSION, 0)
    assert state_end + n_metadata + 4 * n_logits + 72 == len(data)
    assert data == sealed(data)
    start = 12 + 4 * n_tokens
    tokens = struct.unpack_from(f"<{n_tokens}i", data, 12)
    metadata_end = state_end + n_metadata
    return Parts(
        tokens, data[start:state_end], data[state_end:metadata_end], data[metadata_end:-72]
    )


def put_together(
    parts: Parts, *, trailer: bool = True, n_tokens: int | None = None, version: int = 3
) -> bytes:
    """A file of these parts; without a trailer it is one of llama.cpp's."""
    n = len(parts.tokens)
    data = struct.pack("<III", _GGSQ, version, n if n_tokens is None else n_tokens)
    data += struct.pack(f"<{n}i", *parts.tokens) + parts.state
    if not trailer:
        return data
    footer = struct.pack(
        "<QQQII", len(data), len(parts.metadata), len(parts.logits) // 4, VERSION, 0
    )
    return sealed(data + parts.metadata + parts.logits + footer + bytes(32) + END)


def sealed(data: bytes) -> bytes:
    """The same with the checksum that it should have."""
    return data[:-40] + xxh3_128(data[:-40]).hexdigest().encode() + END


def core_boundaries(core: bytes, structure: Structure) -> dict[int, str]:
    """Where the parts of a ggsq file begin and end, down to the rows of each cell, and their kind.

    The kinds are count, number, tokens, position, place, mark, and rows.
    """
    n_tokens = struct.unpack_from("<I", core, 8)[0]
    start = 12 + 4 * n_tokens
    found = {0: "number", 4: "number", 8: "count", 12: "tokens", start: "count"}
    state = SequenceState(HEADER + core[start:], structure)
    base = start - len(HEADER)
    for block in state.blocks:
        is_kv = block.kind == "kv"
        width = structure.cell_bytes if is_kv else 8
        found |= {base + block.cells - 4 - at: "count" for at in ((0, 4) if is_kv else (0,))}
        for cell in range(block.n_cells):
            at = base + block.cells + cell * width
            found |= {at: "position", at + 4: "count"}
            found |= {at + more: "place" for more in range(8, width - 4, 4)}
            if is_kv:
                found[at + width - 4] = "mark"
        end_of_cells = base + block.cells + block.n_cells * width
        if block.n_cells or not is_kv:
            found |= {end_of_cells: "number", end_of_cells + 4: "count"}
        for tensor, offset in zip(block.tensors, block.offsets, strict=True):
            found |= {base + offset - 12: "number", base + offset - 8: "count"}
            n_rows = tensor.n_embd or block.n_cells  # without flash attention V lies turned
            row = tensor.row_bytes * block.n_cells // n_rows if n_rows else 0
            found |= {base + offset + index * row: "rows" for index in range(n_rows if row else 0)}
    return found


def boundaries(data: bytes, structure: Structure) -> list[int]:
    """Where the parts of a session file begin and end."""
    parts = take_apart(data)
    footer = len(data) - 72
    metadata = footer - len(parts.logits) - len(parts.metadata)
    inside = core_boundaries(data[:metadata], structure)
    trailer = [
        metadata,
        footer - len(parts.logits),
        *(footer + at for at in (0, 8, 16, 24, 28, 32, 64)),
    ]
    return sorted({*inside, *trailer})
