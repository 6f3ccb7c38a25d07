from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from state.segments import KB, contents, files, segment

from mullama_nb import machine
from mullama_nb.errors import ParameterError
from mullama_nb.state import spill_folder
from mullama_nb.state import store as store_module
from mullama_nb.state.store import SegmentStore


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SegmentStore]:
    store = SegmentStore(1000 * KB, tmp_path)
    yield store
    store.close()
    assert files(tmp_path) == []


@pytest.fixture
def told(store: SegmentStore) -> list[str]:
    told: list[str] = []
    store.on_spill = told.append
    return told


def fail_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)


# -- exact ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("logits", [False, True])
def test_what_comes_back_from_a_file_is_what_was_put(
    store: SegmentStore, whole: bool, logits: bool
) -> None:
    put = segment(1, 300 * KB, logits=logits, whole=whole)
    address = store.put(put)
    assert store.get(address) is put
    store.spill(address)
    assert (store.place(address), store.memory_bytes) == ("disk", 0)
    got = store.get(address)
    assert got is not None
    assert got is not put
    assert contents(got) == contents(put)
    assert got.address == address
    assert store.get(address) is got
    assert (store.place(address), store.memory_bytes) == ("memory", put.n_bytes)


def test_logits_are_kept_to_the_bit(store: SegmentStore) -> None:
    bits = np.array([0x7FC12345, 0x80000000, 0x00000001, 0xFF800000], np.uint32)
    address = store.put(replace(segment(1, whole=True), logits=bits.view(np.float32)))
    store.spill(address)
    got = store.get(address)
    assert got is not None
    assert got.logits is not None
    assert got.logits.view(np.uint32).tolist() == bits.tolist()


@pytest.mark.parametrize("spilled", [False, True])
def test_logits_that_come_later_are_taken(store: SegmentStore, spilled: bool) -> None:
    bare, full = segment(1), segment(1, logits=True)
    address = store.put(bare)
    if spilled:
        store.spill(address)
    for later in (full, bare):
        assert store.put(later) == address
        store.spill(address)
        assert contents(store.get(address)) == contents(full)
        assert store.bytes_of(address) == full.n_bytes


def test_a_file_is_written_once(
    store: SegmentStore, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    address = store.put(segment(1))
    store.spill(address)
    assert store.get(address) is not None
    monkeypatch.setattr(store_module, "write_segment", None)
    store.spill(address)
    assert store.place(address) == "disk"
    assert store.get(address) is not None
    assert told == [address, address]


# -- budget ---------------------------------------------------------------------------------------


def test_what_was_used_longest_ago_leaves_first(store: SegmentStore, told: list[str]) -> None:
    store.max_bytes = 3 * KB
    one, two, three = (store.put(segment(i)) for i in range(3))
    store.get(one)
    four = store.put(segment(3))
    assert told == [two]
    assert store.get(two) is not None
    assert told == [two, three]
    assert [store.place(a) for a in (one, two, three, four)] == [
        "memory",
        "memory",
        "disk",
        "memory",
    ]


def test_the_budget_is_held_whatever_is_asked(store: SegmentStore) -> None:
    store.max_bytes = 10 * KB
    generator = random.Random(1)
    addresses = [store.put(segment(i)) for i in range(30)]
    for _ in range(100):
        assert store.get(generator.choice(addresses)) is not None
        assert store.memory_bytes <= store.max_bytes
    assert store.memory_bytes == store.max_bytes


@pytest.mark.parametrize("max_bytes", [0, KB - 1])
def test_a_segment_larger_than_the_budget_lives_in_its_file(
    store: SegmentStore, max_bytes: int
) -> None:
    store.max_bytes = max_bytes
    put = segment(1)
    address = store.put(put)
    for _ in range(2):
        assert store.place(address) == "disk"
        assert contents(store.get(address)) == contents(put)


def test_logits_count(store: SegmentStore) -> None:
    store.max_bytes = KB + 99
    address = store.put(segment(1, KB, logits=True))  # 25 of them are 100 bytes
    assert store.place(address) == "disk"
    store.max_bytes += 1
    store.get(address)
    assert store.place(address) == "memory"


def test_what_is_pinned_stays(store: SegmentStore, told: list[str], tmp_path: Path) -> None:
    store.max_bytes = 2 * KB
    addresses = [store.put(segment(i)) for i in range(5)]
    told.clear()
    with store.pinned(iter(addresses[:4])):
        for address in addresses[:4]:
            store.get(address)
        store.spill(addresses[3])
        assert len(files(tmp_path)) == 4  # of all but this one
        assert [store.place(a) for a in addresses] == ["memory"] * 4 + ["disk"]
        assert store.memory_bytes == 4 * KB
        with store.pinned(addresses[:1]):
            pass
        assert store.place(addresses[0]) == "memory"
    assert [store.place(a) for a in addresses] == ["disk"] * 2 + ["memory"] * 2 + ["disk"]
    assert told == [addresses[4], *addresses[:2]]


def test_pins_end_with_an_error(store: SegmentStore) -> None:
    store.max_bytes = 0
    address = segment(1).address

    def collect() -> None:
        with store.pinned([address]):
            store.put(segment(1))
            assert store.memory_bytes == KB
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        collect()
    assert store.memory_bytes == 0


def test_a_share_of_free_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert 1 << 20 < SegmentStore().max_bytes < 1 << 50
    monkeypatch.setattr(machine, "here", machine.Machine(tmp_path, {"MEM_LIMIT": "4000"}))
    assert SegmentStore().max_bytes == 1000


def test_a_budget_below_nothing_is_refused() -> None:
    with pytest.raises(ParameterError, match="max_bytes=-1"):
        SegmentStore(-1)


# -- references -----------------------------------------------------------------------------------


@pytest.mark.parametrize("spilled", [False, True])
def test_the_last_reference_takes_the_rows_along(
    store: SegmentStore, tmp_path: Path, spilled: bool
) -> None:
    address = store.put(segment(1))
    assert store.put(segment(1)) == address
    if spilled:
        store.spill(address)
    assert (len(store), address in store) == (1, True)
    store.release(address)
    assert store.get(address) is not None
    store.release(address)
    assert store.get(address) is None
    assert (len(store), address in store, store.place(address)) == (0, False, "lost")
    assert "released" in str(store.why_lost(address))
    assert files(tmp_path) == []


def test_what_was_never_put(store: SegmentStore) -> None:
    assert store.get("0" * 32) is None
    assert store.place("0" * 32) == "lost"
    assert store.bytes_of("0" * 32) == 0
    for use in (store.release, store.spill):
        with pytest.raises(KeyError):
            use("0" * 32)


def test_a_closed_store_is_empty_and_can_be_used(store: SegmentStore, tmp_path: Path) -> None:
    store.max_bytes = 0
    for _ in range(2):
        address = store.put(segment(1))
        assert len(files(tmp_path)) == 1
        store.close()
        assert (len(store), store.get(address)) == (0, None)
        assert list(tmp_path.iterdir()) == []
    store.close()


def test_it_says_how_much_it_holds(store: SegmentStore) -> None:
    store.spill(store.put(segment(1)))
    store.put(segment(2))
    assert repr(store) == "SegmentStore(2 segments, 1,000 bytes in memory, 1,164 bytes in files)"


# -- lost -----------------------------------------------------------------------------------------


def test_a_full_disk_loses_rows_and_nothing_else(
    store: SegmentStore, told: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept, full = store.put(segment(1)), store.put(segment(2))
    store.spill(kept)
    with monkeypatch.context() as patch:
        fail_to_write(patch)
        store.spill(full)
        store.max_bytes = 0
        other = store.put(segment(3))
    assert [store.place(a) for a in (kept, full, other)] == ["disk", "lost", "lost"]
    assert told == [kept, full, other]
    assert store.get(full) is None
    assert store.bytes_of(full) == 0
    assert "No space left on device" in str(store.why_lost(full))
    assert len(store) == 3
    assert contents(store.get(kept)) == contents(segment(1))
    assert len(files(tmp_path)) == 1
    # What is evaluated again and put again is there again.
    store.put(segment(2))
    store.release(full)
    assert contents(store.get(full)) == contents(segment(2))
    assert store.why_lost(full) is None


def test_a_file_that_may_not_grow_loses_rows(store: SegmentStore) -> None:
    resource = pytest.importorskip("resource", reason="a system without limits")
    small, large = store.put(segment(1)), store.put(segment(2, 3 * KB))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * KB, before[1]))
    try:
        store.spill(small)
        store.spill(large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [store.place(a) for a in (small, large)] == ["disk", "lost"]
    assert "after 2,000 bytes" in str(store.why_lost(large))
    assert contents(store.get(small)) == contents(segment(1))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def exchange(path: Path) -> None:
    """A sound file, but of another segment."""
    store_module.write_segment(path, segment(99))


def put_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip, "checksum"),
        (cut, "claims"),
        (exchange, "exchanged"),
        (Path.unlink, "no segment file"),
        (put_a_pipe, "not a file"),
    ],
    ids=["flip", "cut", "exchange", "remove", "pipe"],
)
def test_a_damaged_file_loses_its_rows(
    store: SegmentStore,
    told: list[str],
    tmp_path: Path,
    damage: Callable[[Path], None],
    reason: str,
) -> None:
    store.max_bytes = 0
    address, other = store.put(segment(1)), store.put(segment(2))
    (path,) = tmp_path.rglob(f"{address}.segment")
    damage(path)
    told.clear()
    for _ in range(2):
        assert store.get(address) is None
    assert store.place(address) == "lost"
    assert reason in str(store.why_lost(address))
    assert told == [address]
    assert len(files(tmp_path)) == 1
    assert not path.exists()
    assert contents(store.get(other)) == contents(segment(2))
    store.put(segment(1))
    assert contents(store.get(address)) == contents(segment(1))


def test_a_folder_that_somebody_removed_is_made_again(store: SegmentStore, tmp_path: Path) -> None:
    store.max_bytes = 0
    gone = store.put(segment(1))
    (folder,) = tmp_path.iterdir()
    for path in files(tmp_path):
        path.unlink()
    folder.rmdir()
    kept = store.put(segment(2))
    assert [store.get(gone), contents(store.get(kept))] == [None, contents(segment(2))]


@pytest.mark.parametrize("given", [False, True])
def test_without_any_folder_rows_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(spill_folder.tempfile, "tempdir", str(file))
    store = SegmentStore(0, file / "folder" if given else None)
    address = store.put(segment(1))
    assert store.place(address) == "lost"
    assert "cannot be made" in str(store.why_lost(address))
    store.release(address)


def test_rows_that_were_left_elsewhere_are_lost_with_a_reason(store: SegmentStore) -> None:
    made = segment(1)
    store.note_lost(made.address, "they were decoded elsewhere")
    assert store.place(made.address) == "lost"
    assert store.get(made.address) is None
    assert store.why_lost(made.address) == "they were decoded elsewhere"
    assert store.put(made) == made.address  # evaluated here, they are the same
    assert store.why_lost(made.address) is None
    store.note_lost(made.address, "once more")
    assert store.get(made.address) is made
    for _ in range(3):
        store.release(made.address)
    assert made.address not in store
    with pytest.raises(KeyError):
        store.release(made.address)
