r"""The session file's format: the meaning of its numbers, and which values are invalid.

==============  ====================================================================================
part            contents, little-endian
==============  ====================================================================================
``ggsq``        ``magic u32, version u32, n_tokens u32``, the tokens, the sequence state
metadata        JSON: model, settings, environment, creation time
logits          float32 of the next token, or nothing
footer          ``state_end u64, metadata_bytes u64, n_logits u64, version u32, 0 u32``, 32 bytes of
                checksum over everything in front of it, ``b"MULLAMA\n"``
==============  ====================================================================================

llama.cpp and llama-server stop reading after the state. Every cell of our files has a sequence id
that no other program writes, and none reads, so that a file without its trailer is recognised as
damaged and not taken for one of llama.cpp's.

The checksum is XXH3-128 in hexadecimal digits. It finds damage as surely as BLAKE3 and ten times as
fast (64 against 6 GB a second were measured in a core's cache). Neither detects forgery, as a
checksum can be made for any file.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import SessionFormatError

__all__ = [
    "CELL_MARK",
    "CHECKSUM_AND_END",
    "END",
    "PREFIX_BYTES",
    "Trailer",
    "as_stored",
    "damaged",
    "is_marked",
    "metadata_bytes",
    "packed_prefix",
    "parse_metadata",
    "state_start",
    "unpacked_tokens",
]

CELL_MARK = 0x4D554C4C
"""The sequence id in the cells of our files."""

END = b"MULLAMA\n"
"""What a file of ours ends with."""

CHECKSUM_AND_END = 40
"""Bytes at the end that the checksum does not cover: itself and what stands behind it."""

_GGSQ = 0x67677371
_GGSN = 0x6767736E
_GGSQ_VERSION = 3
_PREFIX = struct.Struct("<III")
_FOOTER = struct.Struct("<QQQII32s8s")
_FOOTER_VERSION = 2
_MOST_METADATA = 1 << 20
_MOST_TOKENS = 1 << 26
_FIRST_MARK = (16, 28)  # in a state without its header: of plain and of extended cells

PREFIX_BYTES = _PREFIX.size
"""Bytes in front of the tokens."""

# One size for all machines, whose CPU features take more or fewer letters.
_METADATA_STEP = 2048


def as_stored(hexadecimal: str) -> bytes:
    """Return a checksum in the file's form, 32 bytes."""
    return hexadecimal.encode("ascii")


def damaged(name: str, what: str) -> SessionFormatError:
    """Return the error for a damaged session file."""
    return SessionFormatError(
        f"{name} is damaged: {what}. Use a copy of it, or evaluate the conversation again"
    )


# -- ggsq ------------------------------------------------------------------------------------


def packed_prefix(n_tokens: int) -> bytes:
    """Return the bytes in front of the tokens."""
    return _PREFIX.pack(_GGSQ, _GGSQ_VERSION, n_tokens)


def state_start(beginning: bytes, n_bytes: int, name: str) -> int:
    """Return where the state begins, after checking magic, version and token count.

    Parameters
    ----------
    beginning : bytes
        The file's first bytes.
    n_bytes : int
        The file's size.
    name : str
        For the error.
    """
    if len(beginning) < _PREFIX.size:
        raise SessionFormatError(
            f"{name} is {len(beginning)} bytes long; a session has {_PREFIX.size} and more. "
            "It was cut short or is not a session"
        )
    magic, version, n_tokens = _PREFIX.unpack_from(beginning)
    if magic == _GGSN:
        raise SessionFormatError(
            f"{name} holds the state of a whole llama.cpp context (ggsn), not of one sequence. "
            "Save it with llama_state_seq_save_file or llama-server's slots instead"
        )
    if magic != _GGSQ:
        raise SessionFormatError(
            f"{name} is not a session: it begins with {beginning[:4]!r} where {b'qsgg'!r} should be"
        )
    if version != _GGSQ_VERSION:
        raise SessionFormatError(
            f"{name} has version {version} of llama.cpp's format; this llama.cpp reads "
            f"{_GGSQ_VERSION}"
        )
    start = int(_PREFIX.size + 4 * n_tokens)
    if n_tokens > _MOST_TOKENS or start > n_bytes:
        raise damaged(name, f"it claims {n_tokens:,} tokens and is {n_bytes:,} bytes long")
    return start


def unpacked_tokens(tokens: list[int], name: str) -> list[int]:
    """llama-server packs its list: -1, 1, count, tokens, and a count of images, here 0."""
    if tokens[:1] != [-1]:
        return tokens
    n_tokens = tokens[2] if len(tokens) > 2 else -1
    rest = tokens[3 + n_tokens :]
    if tokens[1:2] != [1] or not 0 <= n_tokens <= len(tokens) - 3 or rest not in ([], [0]):
        raise SessionFormatError(
            f"{name} has a packed token list of {len(tokens)} numbers that is damaged, or holds "
            "images or audio, which cannot be restored here"
        )
    return tokens[3 : 3 + n_tokens]


def is_marked(state: bytes) -> bool:
    """Return whether a state, given without its header, begins with a cell of ours."""
    mark = struct.pack("<I", CELL_MARK)
    return any(state[at : at + 4] == mark for at in _FIRST_MARK)


# -- the trailer -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Trailer:
    """Offsets of the parts after the state.

    Attributes
    ----------
    state_end, metadata_end, logits_end : int
    """

    state_end: int
    metadata_end: int
    logits_end: int

    N_BYTES = _FOOTER.size

    @classmethod
    def parse(cls, footer: bytes, n_bytes: int, start: int, name: str) -> Trailer:
        """Read a footer.

        Parameters
        ----------
        footer : bytes
            The file's last ``N_BYTES``, or all of a shorter one.
        n_bytes : int
            The file's size.
        start : int
            Where the state begins.
        name : str
            For the error.
        """
        if n_bytes < start + _FOOTER.size:
            raise damaged(name, f"its {n_bytes} bytes cannot hold all that it claims")
        state_end, n_metadata, n_logits, version, zero, _, _ = _FOOTER.unpack(footer)
        if version != _FOOTER_VERSION or zero:
            raise SessionFormatError(
                f"{name} has a trailer of version {version}, and this mullama_nb reads "
                f"version {_FOOTER_VERSION}: it is damaged, or from another one"
            )
        metadata_end = state_end + n_metadata
        logits_end = n_bytes - _FOOTER.size
        if not (
            start <= state_end
            and n_metadata <= _MOST_METADATA
            and metadata_end + 4 * n_logits == logits_end
        ):
            raise damaged(name, f"its parts end at {state_end}, {metadata_end} and {logits_end}")
        return cls(state_end, metadata_end, logits_end)

    def packed(self) -> bytes:
        """Return the footer up to the checksum."""
        n_logits = (self.logits_end - self.metadata_end) // 4
        n_metadata = self.metadata_end - self.state_end
        footer = _FOOTER.pack(
            self.state_end, n_metadata, n_logits, _FOOTER_VERSION, 0, bytes(32), END
        )
        return footer[:-CHECKSUM_AND_END]


def metadata_bytes(metadata: Mapping[str, Any]) -> bytes:
    """Return metadata in stored form, padded so that small changes keep the file's size."""
    text = json.dumps(metadata, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    data = text.encode()
    return data + b" " * (-len(data) % _METADATA_STEP)


def parse_metadata(data: bytes, name: str) -> dict[str, Any]:
    """Read what :func:`metadata_bytes` wrote."""
    try:
        metadata = json.loads(data)
    except (ValueError, RecursionError):
        raise damaged(name, "its metadata is not JSON") from None
    if not isinstance(metadata, dict) or not metadata:
        raise damaged(name, "its metadata is not a JSON object")
    return metadata
