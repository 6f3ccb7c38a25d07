"""The session file holds what was put into it, to the byte, and says so when it does not."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from state.forge import END, Parts, put_together, sealed, take_apart
from xxhash import xxh3_128

from mullama_nb.errors import SessionFormatError, SessionNotFoundError
from mullama_nb.state import file as file_module
from mullama_nb.state.file import (
    CELL_MARK,
    SessionFile,
    read_outline,
    read_session,
    session_bytes,
    write_session,
)
from mullama_nb.state.layout import HEADER

METADATA = {"model": "tiny", "settings": {"type_k": "f16"}, "environment": {}}
INTEGERS = st.integers(-(2**31), 2**31 - 1)
JSON = st.dictionaries(
    st.text(),
    st.one_of(st.text(), st.integers(), st.booleans(), st.lists(st.text(max_size=5), max_size=3)),
    min_size=1,
    max_size=4,
)


def state_of(contents: bytes, mark: int = CELL_MARK) -> Any:
    """A state with its header, whose first cell names a sequence."""
    cell = struct.pack("<IIiIi", 1, 1, 0, 1, mark)
    return np.frombuffer(HEADER + cell + contents, np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def honest(folder: Path) -> bytes:
    """A small file with everything in it."""
    path = folder / "honest.session"
    logits = np.arange(20, dtype=np.float32)
    write_session(
        path, SessionFile((5, 6, 7), state_of(b"rows of keys and values"), METADATA, logits)
    )
    return path.read_bytes()


# -- what is written is read ---------------------------------------------------------------------


@settings(max_examples=50)
@given(
    tokens=st.lists(st.integers(0, 2**31 - 1), max_size=40),
    rows=st.binary(max_size=300),
    metadata=JSON,
    logits=st.one_of(st.none(), st.lists(st.floats(width=32), min_size=1, max_size=30)),
)
def test_round_trip(
    folder: Path,
    tokens: list[int],
    rows: bytes,
    metadata: dict[str, Any],
    logits: list[float] | None,
) -> None:
    path = folder / "round.session"
    state = state_of(rows)
    numbers = None if logits is None else np.array(logits, np.float32)
    written = write_session(path, SessionFile(tuple(tokens), state, metadata, numbers))
    n = written.n_bytes
    n_logits = 0 if logits is None else len(logits)
    assert n == path.stat().st_size == session_bytes(len(tokens), state.size, metadata, n_logits)

    session = read_session(path)
    assert session.tokens == tuple(tokens)
    assert session.state.tobytes() == state.tobytes()
    assert session.metadata == metadata
    assert session.is_verified
    assert session.n_bytes == n
    if numbers is None:
        assert session.logits is None
    else:
        assert session.logits is not None
        assert session.logits.tobytes() == numbers.tobytes()

    outline = read_outline(path)
    assert (outline.n_tokens, outline.n_bytes) == (len(tokens), n)
    assert outline.metadata == metadata
    assert outline.has_logits == (numbers is not None)
    assert outline == written == session.outline

    parts = take_apart(path.read_bytes())
    assert parts.tokens == tuple(tokens)
    assert parts.state == state.tobytes()[8:]
    assert parts.logits == (b"" if numbers is None else numbers.tobytes())


def test_contents_of_a_session_may_be_changed(folder: Path, honest: bytes) -> None:
    """The arrays belong to whoever read them."""
    path = folder / "writable.session"
    path.write_bytes(honest)
    session = read_session(path)
    session.state[:] = 0
    assert session.logits is not None
    session.logits[:] = 0
    assert path.read_bytes() == honest


@pytest.mark.slow
@pytest.mark.parametrize("n_bytes", range(90, 330, 7))
def test_large_files_are_read_in_pieces(
    folder: Path, monkeypatch: pytest.MonkeyPatch, n_bytes: int
) -> None:
    """Wherever the end of a piece, of what is hashed and of the file fall."""
    path = folder / "large.session"
    state = state_of(os.urandom(n_bytes))
    write_session(path, SessionFile((1, 2), state, METADATA))
    data = path.read_bytes()
    monkeypatch.setattr(file_module, "_PART", 50)
    assert read_session(path).state.tobytes() == state.tobytes()
    write_session(path, SessionFile((1, 2), state, METADATA))
    assert path.read_bytes() == data
    for at in range(60, len(data), 11):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(SessionFormatError):
            read_session(path)


def test_files_of_many_megabytes(folder: Path) -> None:
    path = folder / "huge.session"
    rows = np.random.default_rng(0).integers(0, 256, 20 << 20, np.uint8).tobytes()
    write_session(path, SessionFile((1,), state_of(rows), METADATA))
    assert read_session(path).state[28:].tobytes() == rows
    with path.open("r+b") as file:
        file.seek(19 << 20)
        byte = file.read(1)
        file.seek(19 << 20)
        file.write(bytes([byte[0] ^ 0x10]))
    with pytest.raises(SessionFormatError, match="checksum"):
        read_session(path)
    path.unlink()


# -- files of llama.cpp and llama-server ---------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "tokens"),
    [
        ((), ()),
        ((3,), (3,)),
        ((3, 1, 4), (3, 1, 4)),
        ((-1, 1, 3, 3, 1, 4, 0), (3, 1, 4)),
        ((-1, 1, 3, 3, 1, 4), (3, 1, 4)),
        ((-1, 1, 0, 0), ()),
        ((-1, 1, 0), ()),
    ],
)
def test_lists_of_tokens(folder: Path, stored: tuple[int, ...], tokens: tuple[int, ...]) -> None:
    path = folder / "slot.bin"
    state = state_of(b"rows", mark=0)
    path.write_bytes(put_together(Parts(stored, state[8:].tobytes()), trailer=False))
    session = read_session(path)
    assert session.tokens == tokens
    assert session.state.tobytes() == state.tobytes()
    assert not session.is_verified
    assert session.logits is None
    outline = read_outline(path)
    assert (outline.n_tokens, dict(outline.metadata)) == (len(tokens), {})
    assert not outline.has_logits


@pytest.mark.parametrize(
    "stored",
    [
        (-1,),
        (-1, 1),
        (-1, 2, 1, 5, 0),
        (-1, 1, 3, 5, 0),  # one token short
        (-1, 1, 1, 5, 1, 0),  # an image
        (-1, 1, 1, 5, 6),
        (-1, 1, -1, 5, 0),
        (-1, 1, 2**31 - 1, 5, 0),
    ],
)
def test_packed_lists_that_are_none(folder: Path, stored: tuple[int, ...]) -> None:
    path = folder / "slot.bin"
    path.write_bytes(put_together(Parts(stored, b"state"), trailer=False))
    for read in (read_session, read_outline):
        with pytest.raises(SessionFormatError, match="packed token list"):
            read(path)


# -- damage --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_changed_byte_is_found(folder: Path, honest: bytes) -> None:
    path = folder / "flipped.session"
    for at in range(len(honest)):
        for flip in (1 << at % 8, 0xFF):
            path.write_bytes(honest[:at] + bytes([honest[at] ^ flip]) + honest[at + 1 :])
            with pytest.raises(SessionFormatError):
                read_session(path)


@pytest.mark.slow
def test_every_missing_end_is_found(folder: Path, honest: bytes) -> None:
    path = folder / "short.session"
    n_first = 12 + 3 * 4 + 20  # up to the end of the first cell
    for n_bytes in range(len(honest)):
        path.write_bytes(honest[:n_bytes])
        if n_bytes < n_first:  # too short for the mark: too short for a state as well
            if n_bytes < 24:
                with pytest.raises(SessionFormatError):
                    read_session(path)
            continue
        for read in (read_session, read_outline):
            with pytest.raises(SessionFormatError, match="does not end as it should"):
                read(path)


@pytest.mark.parametrize("more", [b"\0", b"\n", b"x" * 100, END[:-1]])
def test_whatever_follows_the_end_is_found(folder: Path, honest: bytes, more: bytes) -> None:
    path = folder / "long.session"
    path.write_bytes(honest + more)
    for read in (read_session, read_outline):
        with pytest.raises(SessionFormatError, match="does not end as it should"):
            read(path)


def test_the_end_alone_makes_no_trailer(folder: Path, honest: bytes) -> None:
    path = folder / "pasted.session"
    path.write_bytes(honest + END)
    with pytest.raises(SessionFormatError, match="checksum"):
        read_session(path)
    bare = put_together(take_apart(honest), trailer=False)
    path.write_bytes(bare + END)
    with pytest.raises(SessionFormatError, match="checksum"):
        read_session(path)
    with pytest.raises(SessionFormatError, match="cannot hold all that it claims"):
        read_outline(path)
    path.write_bytes(sealed(bare + bytes(32) + END))
    for read in (read_session, read_outline):
        with pytest.raises(SessionFormatError, match=r"trailer of version|cannot hold"):
            read(path)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (0, 0, "its parts end"),
        (0, 23, "its parts end"),
        (0, 2**63, "its parts end"),
        (8, 2**64 - 1, "its parts end"),
        (8, 2**21, "its parts end"),
        (16, 2**62, "its parts end"),
        (16, 0, "its parts end"),
        (24, 3, "version 3"),
        (24, 0, "version 0"),
        (28, 1, "version 2"),
    ],
)
def test_a_forged_footer_is_found(
    folder: Path, honest: bytes, field: int, value: int, words: str
) -> None:
    path = folder / "forged.session"
    size = 8 if field < 24 else 4
    at = len(honest) - 72 + field
    number = value.to_bytes(size, "little")
    path.write_bytes(sealed(honest[:at] + number + honest[at + size :]))
    for read in (read_session, read_outline):
        with pytest.raises(SessionFormatError, match=words):
            read(path)


@pytest.mark.parametrize(
    "metadata",
    [b"", b"{}", b"[1]", b"null", b"{", b"\xff\xfe{}", b"[" * 100_000, b"9" * 10_000, b" " * 64],
)
def test_forged_metadata_is_found(folder: Path, honest: bytes, metadata: bytes) -> None:
    path = folder / "forged.session"
    parts = take_apart(honest)
    path.write_bytes(put_together(Parts(parts.tokens, parts.state, metadata, parts.logits)))
    for read in (read_session, read_outline):
        with pytest.raises(SessionFormatError, match=r"metadata is not (a )?JSON"):
            read(path)


def test_the_checksum_is_of_everything_in_front_of_it(honest: bytes) -> None:
    assert honest[-40:-8] == xxh3_128(honest[:-40]).hexdigest().encode()


def test_another_checksum_is_none(folder: Path, honest: bytes) -> None:
    path = folder / "other.session"
    path.write_bytes(honest[:-40] + blake3(honest[:-40]).digest() + END)
    with pytest.raises(SessionFormatError, match="checksum"):
        read_session(path)


@pytest.mark.parametrize("version", [0, 1, 3, 2**32 - 1])
def test_a_trailer_of_another_version_is_refused(folder: Path, honest: bytes, version: int) -> None:
    path = folder / "other.session"
    path.write_bytes(sealed(honest[:-48] + struct.pack("<I", version) + honest[-44:]))
    for read in (read_session, read_outline):
        with pytest.raises(SessionFormatError, match=f"trailer of version {version}, and"):
            read(path)


# -- what is not a session -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes long"),
        (b"qsgg\3\0\0", "7 bytes long"),
        (b"Dear diary, today I learnt\n", "not a session: it begins with b'Dear'"),
        (struct.pack("<III", 0x6767736E, 10, 0), r"whole llama\.cpp context \(ggsn\)"),
        (struct.pack("<III", 0x67677371, 2, 0), r"version 2 of llama\.cpp's format"),
        (struct.pack("<III", 0x67677371, 3, 2**32 - 1), "claims 4,294,967,295 tokens"),
        (struct.pack("<III", 0x67677371, 3, 1), "claims 1 tokens and is 12 bytes long"),
    ],
)
def test_other_files_are_named_for_what_they_are(folder: Path, data: bytes, words: str) -> None:
    path = folder / "other.session"
    path.write_bytes(data)
    for read in (read_session, read_outline):
        with pytest.raises(SessionFormatError, match=words):
            read(path)


def test_more_tokens_than_any_context_has(folder: Path) -> None:
    """A file may be as long as it claims and take no space on disk."""
    path = folder / "sparse.session"
    with path.open("wb") as file:
        file.write(struct.pack("<III", 0x67677371, 3, 2**28))
        file.truncate(2**31)
    for read in (read_session, read_outline):
        with pytest.raises(SessionFormatError, match="claims 268,435,456 tokens"):
            read(path)
    path.unlink()


def test_more_bytes_than_there_is_memory(
    folder: Path, honest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(n_bytes: int) -> Any:
        raise MemoryError(n_bytes)

    path = folder / "memory.session"
    path.write_bytes(honest)
    monkeypatch.setattr(file_module, "empty_bytes", too_much)
    with pytest.raises(SessionFormatError, match="there is not so much memory"):
        read_session(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_what_is_no_file_is_not_waited_for(folder: Path) -> None:
    pipe = folder / "pipe.session"
    os.mkfifo(pipe)
    loop = folder / "loop.session"
    loop.symlink_to(loop)
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir())) if descriptors.is_dir() else 0
    for path in (pipe, folder, Path(os.devnull), loop, pipe / "inside"):
        for read in (read_session, read_outline):
            with pytest.raises(SessionFormatError):
                read(path)
    if descriptors.is_dir():
        assert len(list(descriptors.iterdir())) == before


def test_missing_files_and_what_is_close_to_them(folder: Path, honest: bytes) -> None:
    (folder / "physics-1.session").write_bytes(honest)
    for read in (read_session, read_outline):
        with pytest.raises(SessionNotFoundError, match=r"close to it: physics-1\.session"):
            read(folder / "physics-2.session")
        with pytest.raises(SessionNotFoundError, match="in the folder 'files"):
            read(folder / "zzzzzzzzzzzz")
        with pytest.raises(SessionNotFoundError, match="nor the folder 'nowhere'"):
            read(folder / "nowhere" / "a.session")
        with pytest.raises(SessionNotFoundError, match="null"):
            read(folder / "a\0b.session")
    with pytest.raises(FileNotFoundError):  # so it is for those who do not know our errors
        read_session(folder / "absent.session")


def test_the_current_folder_has_a_name_in_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SessionNotFoundError, match=f"in the folder '{tmp_path.name}'"):
        read_session(Path("none.session"))
    with pytest.raises(SessionFormatError, match=r"'\.' cannot be read"):
        read_session(Path())
