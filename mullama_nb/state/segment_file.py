r"""The segment file: the rows of a token range, which llama.cpp must not take for a session.

===========  =======================================================================================
part         contents, little-endian
===========  =======================================================================================
header       ``b"MULLSEG\n", version u32, flags u32, start u64, n_tokens u64, data_bytes u64,``
             ``n_logits u64, settings_bytes u32, parent_bytes u32``
names        the digest of the settings and the parent's address, as text; where adapters were on,
             a new line and their runs as JSON stand behind the former
tokens       ``i32`` each
data         the rows
logits       ``f32`` each, or nothing
checksum     32 bytes of BLAKE3 over header, names, tokens, logits and the segment's address
===========  =======================================================================================

A root has an empty parent. Flag 1 is set if the data is the state after all tokens so far, flag 2
if adapters were on. The address already covers the rows, so they are hashed only once, on reading
as on writing.
"""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from blake3 import blake3

from ..errors import SessionFormatError, SessionNotFoundError
from .atomic import write_atomically
from .buffer import empty_bytes
from .layout import ByteArray
from .reading import fill, open_regular
from .segment import Segment

__all__ = [
    "bare_segment_bytes",
    "read_segment",
    "read_segment_bytes",
    "segment_bytes",
    "write_segment",
]

_HEADER = struct.Struct("<8sIIQQQQII")
_MAGIC = b"MULLSEG\n"
_VERSION = 2
_WHOLE = 1
_ADAPTERS = 2
_DIGEST = 32


def write_segment(path: Path, segment: Segment, *, durable: bool = True) -> int:
    """Write a segment atomically, readable by its owner only.

    Parameters
    ----------
    path : Path
    segment : Segment
    durable : bool
        Whether to wait until it would survive a power failure.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    SessionWriteError
        When that fails; an existing file is intact.
    """
    return write_atomically(path, _pieces(segment), durable=durable)


def segment_bytes(segment: Segment) -> bytes:
    """Return what :func:`write_segment` would write, to be sent."""
    return b"".join(_pieces(segment))


def _pieces(segment: Segment) -> list[bytes | memoryview]:
    adapters = f"\n{json.dumps(segment.adapters)}" if segment.adapters else ""
    settings, parent = (segment.settings + adapters).encode(), (segment.parent or "").encode()
    tokens = np.asarray(segment.tokens, "<i4").tobytes()
    logits = b"" if segment.logits is None else np.asarray(segment.logits, "<f4").tobytes()
    header = _HEADER.pack(
        _MAGIC,
        _VERSION,
        _WHOLE * segment.whole | _ADAPTERS * bool(adapters),
        segment.start,
        len(segment.tokens),
        segment.data.nbytes,
        len(logits) // 4,
        len(settings),
        len(parent),
    )
    rows = segment.data.data
    checksum = _checksum(header, (settings, parent, tokens, logits), segment.address)
    return [header, settings, parent, tokens, rows, logits, checksum]


def bare_segment_bytes(path: Path) -> int:
    """Return the bytes that a segment's file has, or would have without logits that are a cache.

    Only its beginning is read.

    Raises
    ------
    SessionNotFoundError, SessionFormatError
        When there is no such file, or it does not begin as a segment does.
    """
    try:
        with open_regular(path) as file:
            n_bytes = os.fstat(file.fileno()).st_size
            header = empty_bytes(min(n_bytes, _HEADER.size))
            fill(header, file, path.name)
    except FileNotFoundError:
        raise SessionNotFoundError(f"there is no segment file {path.name}") from None
    flags, *_, logits = _parse(header.tobytes(), n_bytes, path.name)
    return n_bytes if flags & _WHOLE else n_bytes - logits


def read_segment(path: Path) -> Segment:
    """Read a segment, with every byte checked.

    Only the address tells whether it is the expected segment.

    Parameters
    ----------
    path : Path

    Raises
    ------
    SessionNotFoundError
        When there is no such file.
    SessionFormatError
        When it is damaged, or not a segment file.
    """
    name = path.name
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise SessionNotFoundError(f"there is no segment file {name}") from None
    with file:
        return _read(file, os.fstat(file.fileno()).st_size, name)


def read_segment_bytes(data: bytes, name: str) -> Segment:
    """Read a segment that was sent, with every byte checked; otherwise as :func:`read_segment`.

    Parameters
    ----------
    data : bytes
    name : str
        What errors call it.
    """
    return _read(io.BytesIO(data), len(data), name)


def _read(file: io.FileIO | io.BytesIO, n_bytes: int, name: str) -> Segment:
    def take(n_bytes: int) -> ByteArray:
        part = empty_bytes(n_bytes)
        fill(part, file, name)
        return part

    header = take(min(n_bytes, _HEADER.size)).tobytes()
    flags, start, *sizes = _parse(header, n_bytes, name)
    settings, parent, tokens, data, logits = map(take, sizes)
    checksum = take(_DIGEST).tobytes()
    try:
        names = settings.tobytes().decode(), parent.tobytes().decode()
    except UnicodeDecodeError:
        raise _damaged(name, "its names are no text") from None
    digest, _, runs = names[0].rpartition("\n") if flags & _ADAPTERS else (names[0], "", "[]")
    segment = Segment(
        start,
        tuple(tokens.view("<i4").tolist()),
        data,
        digest,
        names[1] or None,
        bool(flags & _WHOLE),
        logits.view("<f4") if logits.size else None,
        _parse_adapters(runs, name),
    )
    parts = (part.data for part in (settings, parent, tokens, logits))
    if _checksum(header, parts, segment.address) != checksum:
        raise _damaged(name, "its checksum does not match its contents")
    return segment


def _parse_adapters(text: str, name: str) -> tuple[tuple[int, str], ...]:
    try:
        runs = json.loads(text)
    except (ValueError, RecursionError):
        runs = None
    if not isinstance(runs, list) or not all(
        isinstance(run, list) and [*map(type, run)] == [int, str] for run in runs
    ):
        raise _damaged(name, "what it says of adapters is not a list of them")
    return tuple((first, adapters) for first, adapters in runs)


def _checksum(header: bytes, parts: Iterable[bytes | memoryview], address: str) -> bytes:
    hasher = blake3(header)  # it says how long the other parts are
    for part in (*parts, address.encode()):
        hasher.update(part)
    return hasher.digest()


def _parse(header: bytes, n_bytes: int, name: str) -> tuple[int, ...]:
    """Flags, start, and the bytes of each part, before memory is taken for them."""
    if not header.startswith(_MAGIC):
        raise SessionFormatError(
            f"{name} is not a segment: it begins with {header[:8]!r} where {_MAGIC!r} should be"
        )
    if len(header) < _HEADER.size:
        raise _damaged(name, f"it ends after {len(header)} bytes")
    _, version, flags, start, n_tokens, data, n_logits, settings, parent = _HEADER.unpack(header)
    if version != _VERSION or flags & ~(_WHOLE | _ADAPTERS):
        raise SessionFormatError(
            f"{name} is a segment of version {version} with flags {flags:#x}, and this mullama_nb "
            f"reads version {_VERSION}: it is damaged, or from a newer one"
        )
    sizes = settings, parent, 4 * n_tokens, data, 4 * n_logits
    claimed = _HEADER.size + sum(sizes) + _DIGEST
    if claimed != n_bytes:
        raise _damaged(name, f"it claims {claimed:,} bytes and has {n_bytes:,}")
    return (flags, start, *sizes)


def _damaged(name: str, what: str) -> SessionFormatError:
    return SessionFormatError(f"{name} is damaged: {what}. Its tokens must be evaluated again")
