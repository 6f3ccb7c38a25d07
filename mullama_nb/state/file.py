"""The session file: a complete ``ggsq`` file of llama.cpp, with a trailer that it ignores.

The format is described in :mod:`.format`.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_128

from ..checks import close_names
from ..errors import SessionFormatError, SessionNotFoundError, shown
from .atomic import write_atomically
from .buffer import empty_bytes
from .finite import rows_are_finite, spanned
from .format import (
    CELL_MARK,
    CHECKSUM_AND_END,
    END,
    PREFIX_BYTES,
    Trailer,
    as_stored,
    damaged,
    is_marked,
    metadata_bytes,
    packed_prefix,
    parse_metadata,
    state_start,
    unpacked_tokens,
)
from .layout import HEADER, ByteArray, RowPlace
from .reading import fill, open_regular

__all__ = [
    "CELL_MARK",
    "SessionFile",
    "SessionOutline",
    "now",
    "page_offset",
    "read_outline",
    "read_session",
    "session_bytes",
    "write_session",
]

_PART = 1 << 19  # bytes that fit into a core's cache
_BEGINNING_OF_STATE = 32
_PAGE = 4096


@dataclass(frozen=True)
class SessionOutline:
    """A session file without its rows.

    Attributes
    ----------
    n_tokens, n_bytes : int
    metadata : mapping
        Empty for a file without a trailer.
    has_logits : bool
    """

    n_tokens: int
    n_bytes: int
    metadata: Mapping[str, Any]
    has_logits: bool


@dataclass(frozen=True, eq=False, repr=False)
class SessionFile:
    """The contents of a session file.

    Attributes
    ----------
    tokens : tuple of int
    state : ndarray of uint8
        llama.cpp's sequence state with its header; verified by the checksum, but not yet checked
        against a model's shapes.
    metadata : mapping
        Empty for a file without a trailer.
    logits : ndarray of float32, optional
        Of the next token.
    n_bytes : int
        The file's size.
    finite : tuple of RowPlace
        Rows known to hold no NaN and no infinity.
    """

    tokens: tuple[int, ...]
    state: ByteArray
    metadata: Mapping[str, Any] = field(default_factory=dict)
    logits: npt.NDArray[np.float32] | None = None
    n_bytes: int = 0
    finite: tuple[RowPlace, ...] = ()

    @property
    def is_verified(self) -> bool:
        """Whether the file has our trailer, and so a valid checksum."""
        return bool(self.metadata)

    @property
    def outline(self) -> SessionOutline:
        """The session without its rows."""
        return SessionOutline(
            len(self.tokens), self.n_bytes, self.metadata, has_logits=self.logits is not None
        )


def session_bytes(
    n_tokens: int, state_bytes: int, metadata: Mapping[str, Any], n_logits: int
) -> int:
    """Return the size of a session file before it is written.

    Parameters
    ----------
    n_tokens : int
    state_bytes : int
        Of the sequence state with its header.
    metadata : mapping
        The metadata to write; only lengths matter.
    n_logits : int
    """
    state_end = PREFIX_BYTES + 4 * n_tokens + state_bytes - len(HEADER)
    return state_end + len(metadata_bytes(metadata)) + 4 * n_logits + Trailer.N_BYTES


def page_offset(n_tokens: int) -> int:
    """Return the page offset of a state with header that matches its place in a file.

    Memory to be written has the same offset: if a source is a few bytes nearer to the beginning of
    its page than the target, copying takes twice as long, since the CPU takes its next load for
    what it has just stored. For 1,024 tokens that would be the case.
    """
    return (PREFIX_BYTES + 4 * n_tokens - len(HEADER)) % _PAGE


def now() -> str:
    """Return the time of creation in the file's form, which has a fixed length."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_session(path: Path, session: SessionFile) -> SessionOutline:
    """Write a session file atomically.

    Parameters
    ----------
    path : Path
    session : SessionFile
        With metadata, and :data:`CELL_MARK` in the cells of its state.

    Returns
    -------
    SessionOutline
        The outline of the new file.

    Raises
    ------
    SessionWriteError
        When that fails; an existing file is intact.
    """
    tokens = np.asarray(session.tokens, "<i4")
    prefix = packed_prefix(tokens.size) + tokens.tobytes()
    state = session.state[len(HEADER) :].data
    metadata = metadata_bytes(session.metadata)
    logits = b"" if session.logits is None else np.asarray(session.logits, "<f4").tobytes()
    state_end = len(prefix) + len(state)
    metadata_end = state_end + len(metadata)
    footer = Trailer(state_end, metadata_end, metadata_end + len(logits)).packed()
    pieces: list[bytes | memoryview] = [prefix, state, metadata, logits, footer]
    n_bytes = write_atomically(path, _with_checksum(pieces))
    return replace(session.outline, n_bytes=n_bytes)


def _with_checksum(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The pieces in parts, hashed while they are in a core's cache, and what ends the file."""
    hasher, n_bytes = xxh3_128(), 0
    for piece in pieces:
        rest = memoryview(piece)
        while rest.nbytes:
            room = _PART - n_bytes % _PART  # whole pages of the file: to add to one costs more
            part, rest = rest[:room], rest[room:]
            n_bytes += part.nbytes
            hasher.update(part)
            yield part
    yield as_stored(hasher.hexdigest())
    yield END


def read_session(
    path: Path, expected_rows: Callable[[int], tuple[RowPlace, ...]] = lambda _: ()
) -> SessionFile:
    """Read and check a session file, before native code sees any of it.

    Parameters
    ----------
    path : Path
    expected_rows : callable
        Returns where a state of so many tokens probably has its rows, which are checked for
        finiteness while they are in a core's cache.

    Raises
    ------
    SessionNotFoundError
        When there is no such file.
    SessionFormatError
        When it is damaged, or not a session file.
    """
    name = path.name
    with _open(path) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        beginning = file.read(PREFIX_BYTES)
        start = state_start(beginning, n_bytes, name)  # before so much memory is taken
        file.seek(0)
        places = expected_rows((start - PREFIX_BYTES) // 4)
        data, checksum, finite = _read(file, n_bytes, name, places, start - len(HEADER))
    state_end, metadata, logits = n_bytes, {}, None
    if data[-len(END) :].tobytes() == END:
        if checksum != data[-CHECKSUM_AND_END : -len(END)].tobytes():
            raise damaged(name, "its checksum does not match its contents")
        trailer = Trailer.parse(data[-Trailer.N_BYTES :].tobytes(), n_bytes, start, name)
        state_end = trailer.state_end
        metadata = parse_metadata(data[state_end : trailer.metadata_end].tobytes(), name)
        stored = data[trailer.metadata_end : trailer.logits_end]
        logits = stored.copy().view("<f4") if stored.size else None
    else:
        _check_unmarked(data[start : start + _BEGINNING_OF_STATE].tobytes(), name)
    tokens = unpacked_tokens(data[PREFIX_BYTES:start].view("<i4").tolist(), name)
    # The header takes the place of the last tokens: the state is used where it was read.
    begin = start - len(HEADER)
    data[begin:start] = np.frombuffer(HEADER, np.uint8)
    return SessionFile(
        tuple(tokens), data[begin:state_end], metadata, logits, n_bytes, places if finite else ()
    )


def read_outline(path: Path) -> SessionOutline:
    """Read the outline of a session file; the checksum is not verified.

    Raises
    ------
    SessionNotFoundError
        When there is no such file.
    SessionFormatError
        When it is not a session, or its trailer is damaged.
    """
    name = path.name
    with _open(path) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        start = state_start(file.read(PREFIX_BYTES), n_bytes, name)
        numbers = np.frombuffer(file.read(start - PREFIX_BYTES), "<i4")
        n_tokens = len(unpacked_tokens(numbers.tolist(), name))
        beginning = file.read(_BEGINNING_OF_STATE)
        file.seek(max(0, n_bytes - Trailer.N_BYTES))
        footer = file.read(Trailer.N_BYTES)
        if not footer.endswith(END):
            _check_unmarked(beginning, name)
            return SessionOutline(n_tokens, n_bytes, {}, has_logits=False)
        trailer = Trailer.parse(footer, n_bytes, start, name)
        file.seek(trailer.state_end)
        metadata = parse_metadata(file.read(trailer.metadata_end - trailer.state_end), name)
    has_logits = trailer.logits_end > trailer.metadata_end
    return SessionOutline(n_tokens, n_bytes, metadata, has_logits)


def _check_unmarked(beginning_of_state: bytes, name: str) -> None:
    if is_marked(beginning_of_state):
        raise damaged(
            name,
            "mullama_nb wrote it, and it does not end as it should; it was probably cut short",
        )


def _read(
    file: io.FileIO, n_bytes: int, name: str, places: Sequence[RowPlace], state_at: int
) -> tuple[ByteArray, bytes, bool]:
    """The file's bytes, the checksum that they should have, and whether the rows are finite.

    All in one pass: what was read is still in a core's cache when it is looked at, and while that
    happens the system reads on.
    """
    try:
        data = empty_bytes(n_bytes)
    except MemoryError:
        raise SessionFormatError(
            f"{name} is {n_bytes:,} bytes long, and there is not so much memory"
        ) from None
    n_hashed = max(0, n_bytes - CHECKSUM_AND_END)
    hasher, finite, spans = xxh3_128(), True, spanned(places)
    for at in range(0, n_bytes, _PART):
        part = data[at : at + _PART]
        fill(part, file, name)
        hasher.update(part[: max(0, n_hashed - at)].data)
        finite = finite and rows_are_finite(part, spans, at - state_at)
    return data, as_stored(hasher.hexdigest()), finite


@contextlib.contextmanager
def _open(path: Path) -> Iterator[io.FileIO]:
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise SessionNotFoundError(_missing(path)) from None
    except ValueError as error:  # a path with a NUL character
        raise SessionNotFoundError(f"there is no session {str(path)!r}: {error}") from None
    with file:
        try:
            yield file
        except OSError as error:
            raise SessionFormatError(f"{path.name} cannot be read: {error.strerror}") from error


def _missing(path: Path) -> str:
    folder, names = path.parent, []
    with contextlib.suppress(OSError):
        names = sorted(p.name for p in folder.iterdir() if p.is_file())
    close = close_names(path.name, names)
    if close:
        return f"there is no session {path.name!r}; close to it: {', '.join(map(shown, close))}"
    if not folder.is_dir():
        return f"there is no session {path.name!r}, nor the folder {folder.name!r}"
    return f"there is no session {path.name!r} in the folder {folder.resolve().name!r}"
