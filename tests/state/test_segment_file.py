from __future__ import annotations

import errno
import io
import os
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mullama_nb.errors import SessionFormatError, SessionNotFoundError
from mullama_nb.state.file import read_outline, read_session
from mullama_nb.state.reading import fill, open_regular
from mullama_nb.state.segment import Segment
from mullama_nb.state.segment_file import (
    bare_segment_bytes,
    read_segment,
    read_segment_bytes,
    segment_bytes,
    write_segment,
)

TOKENS = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20).map(tuple)
DATA = hnp.arrays(np.uint8, st.integers(0, 200))
ADAPTERS = st.lists(st.tuples(st.integers(0, 2**53), st.text(max_size=9)), max_size=3).map(tuple)
LOGITS = hnp.arrays(np.uint32, st.integers(1, 20)).map(lambda bits: bits.view(np.float32))

OPEN_FILES = Path("/proc/self/fd")
HEADER = struct.Struct("<8sIIQQQQII")


def segment(*, whole: bool = False, logits: bool = True, parent: str | None = "b" * 32) -> Segment:
    random = np.random.default_rng(1)
    return Segment(
        start=7,
        tokens=(1, 2, 3),
        data=random.integers(0, 256, 90, dtype=np.uint8),
        settings="a" * 32,
        parent=parent,
        whole=whole,
        logits=random.random(5, dtype=np.float32) if logits else None,
    )


def contents(segment: Segment) -> tuple[object, ...]:
    logits = segment.logits
    return (
        segment.start,
        segment.tokens,
        segment.data.dtype,
        segment.data.tobytes(),
        segment.settings,
        segment.parent,
        segment.whole,
        logits if logits is None else (logits.dtype, logits.tobytes()),
        segment.adapters,
    )


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "one.segment"
    write_segment(path, segment())
    return path


# -- what is written is read ----------------------------------------------------------------------


@pytest.mark.slow
@settings(deadline=None)  # another process may have the disk
@given(
    st.builds(
        Segment,
        start=st.integers(0, 2**64 - 1),
        tokens=TOKENS,
        data=DATA,
        settings=st.text(max_size=40),
        parent=st.none() | st.text(min_size=1, max_size=40),
        whole=st.booleans(),
        logits=st.none() | LOGITS,
        adapters=ADAPTERS,
    )
)
def test_a_segment_comes_back_to_the_byte(
    tmp_path_factory: pytest.TempPathFactory, written: Segment
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.segment"
    n_bytes = write_segment(path, written)
    read = read_segment(path)
    assert contents(read) == contents(written)
    assert read.address == written.address
    assert path.stat().st_size == n_bytes
    sent = segment_bytes(written)
    assert sent == path.read_bytes()
    assert contents(read_segment_bytes(sent, "what was sent")) == contents(written)


def test_arrays_are_aligned_and_hold_nothing_but_their_own_bytes(path: Path) -> None:
    read = read_segment(path)
    assert read.logits is not None
    assert read.logits.flags.aligned
    assert read.data.base is None


def test_only_the_owner_can_read_the_file(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_reader_of_sessions_takes_a_segment(path: Path) -> None:
    # llama.cpp looks at the first four bytes: ggsq, ggsn, ggla, and its sequence states.
    assert path.read_bytes()[:4] == b"MULL"
    for read in (read_session, read_outline):
        with pytest.raises(SessionFormatError, match="is not a session"):
            read(path)


# -- what is damaged is refused -------------------------------------------------------------------


def test_every_flipped_bit_is_found(path: Path) -> None:
    good = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for at, byte in enumerate(good):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), at)
                with pytest.raises(SessionFormatError, match=r"one\.segment"):
                    read_segment(path)
            os.pwrite(file.fileno(), bytes([byte]), at)
    assert contents(read_segment(path)) == contents(segment())


def test_every_truncation_is_found(path: Path) -> None:
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        with pytest.raises(SessionFormatError, match=r"one\.segment"):
            read_segment(path)


@given(st.data())
def test_damage_to_what_was_sent_is_found(data: st.DataObject) -> None:
    sent = bytearray(segment_bytes(segment()))
    at = data.draw(st.integers(0, len(sent) - 1))
    if data.draw(st.booleans()):
        del sent[at:]
    else:
        sent[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SessionFormatError, match="what was sent"):
        read_segment_bytes(bytes(sent), "what was sent")


def test_bytes_behind_the_end_are_found(path: Path) -> None:
    good = path.read_bytes()
    for more in (b"\0", good, b"\0" * 100_000):
        path.write_bytes(good + more)
        with pytest.raises(SessionFormatError, match="claims"):
            read_segment(path)


def rewritten(path: Path, change: Callable[[list[int]], object]) -> None:
    """Change the header's numbers and put a checksum behind that holds."""
    data = path.read_bytes()[:-32]
    magic, *numbers = HEADER.unpack_from(data)
    change(numbers)
    data = HEADER.pack(magic, *numbers) + data[HEADER.size :]
    path.write_bytes(data + blake3(data).digest())


@pytest.mark.parametrize("part", range(3, 6), ids=["tokens", "data", "logits"])
def test_a_claim_beyond_the_file_takes_no_memory(path: Path, part: int) -> None:
    for claim in (10**6, 1 << 40, 2**64 - 1):
        rewritten(path, lambda numbers, claim=claim: numbers.__setitem__(part, claim))
        with pytest.raises(SessionFormatError, match="claims"):
            read_segment(path)


@pytest.mark.parametrize(
    ("number", "value"), [(0, 3), (1, 4), (1, 1 << 31)], ids=["version", "flag", "high flag"]
)
def test_a_newer_file_is_refused_in_words(path: Path, number: int, value: int) -> None:
    rewritten(path, lambda numbers: numbers.__setitem__(number, value))
    with pytest.raises(SessionFormatError, match="from a newer one"):
        read_segment(path)


def test_names_that_are_no_text_are_refused(path: Path) -> None:
    data = bytearray(path.read_bytes()[:-32])
    data[HEADER.size] = 0xFF
    path.write_bytes(data + blake3(data).digest())
    with pytest.raises(SessionFormatError, match="no text"):
        read_segment(path)


def test_other_files_are_named_as_such(tmp_path: Path) -> None:
    for content in (b"", b"GGUF", b"qsgg" + bytes(200)):
        path = tmp_path / "other"
        path.write_bytes(content)
        with pytest.raises(SessionFormatError, match="not a segment: it begins with"):
            read_segment(path)


# -- what is not a file is refused -----------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SessionNotFoundError, match=r"no segment file gone\.segment"):
        read_segment(tmp_path / "gone.segment")


@pytest.fixture(params=["folder", "pipe", "device"])
def no_file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "no file"
    if request.param == "folder":
        path.mkdir()
    elif request.param == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(os.devnull)
    return path


def test_what_is_no_file_is_refused_at_once(no_file: Path) -> None:
    with pytest.raises(SessionFormatError, match=r"no file (cannot be read|is not a file)"):
        read_segment(no_file)


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="nowhere to count open files")
def test_a_refusal_leaves_nothing_open(no_file: Path) -> None:
    before = len(list(OPEN_FILES.iterdir()))
    for _ in range(3):
        with pytest.raises(SessionFormatError):
            read_segment(no_file)
    assert len(list(OPEN_FILES.iterdir())) == before


def test_a_file_that_becomes_shorter_while_it_is_read(path: Path) -> None:
    n_bytes = path.stat().st_size
    with open_regular(path) as file:
        os.truncate(path, n_bytes - 1)
        with pytest.raises(SessionFormatError, match="became shorter"):
            fill(np.empty(n_bytes, np.uint8), file, path.name)


def refuse(*_: object) -> int:
    raise OSError(errno.EIO, "Input/output error")


def test_a_file_that_cannot_be_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(
        SessionFormatError, match=r"one\.segment cannot be read: Input/output error"
    ):
        read_segment(path)


def test_a_disk_that_fails_while_it_is_read(path: Path) -> None:
    broken = type("Broken", (io.FileIO,), {"readinto": refuse})
    with broken(path) as file, pytest.raises(SessionFormatError, match="Input/output error"):
        fill(np.empty(8, np.uint8), file, path.name)


@pytest.mark.slow
@given(
    data=DATA,
    tokens=TOKENS,
    adapters=ADAPTERS,
    logits=st.none() | LOGITS,
    whole=st.booleans(),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_without_logits_are_known_from_the_beginning(
    tmp_path: Path, data: Any, tokens: Any, adapters: Any, logits: Any, whole: bool
) -> None:
    segment = Segment(3, tokens, data, "settings", "a" * 32, whole, logits, adapters)
    write_segment(tmp_path / "x", segment, durable=False)
    bare = segment if whole else replace(segment, logits=None)
    assert bare_segment_bytes(tmp_path / "x") == len(segment_bytes(bare))


def test_a_file_that_does_not_begin_as_a_segment_has_no_such_bytes(tmp_path: Path) -> None:
    with pytest.raises(SessionNotFoundError):
        bare_segment_bytes(tmp_path / "x")
    for data in (b"", b"GGUF", bytes(200)):
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(SessionFormatError):
            bare_segment_bytes(tmp_path / "x")
