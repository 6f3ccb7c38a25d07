from __future__ import annotations

import gc
import os
import random
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from state.segments import KB, contents, files, segment

from mullama_nb.state import spill_folder
from mullama_nb.state import store as store_module
from mullama_nb.state.segment import Segment
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
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files."""
    monkeypatch.setattr(spill_folder.tempfile, "tempdir", str(tmp_path))
    return tmp_path


# -- folder ---------------------------------------------------------------------------------------


def test_only_the_owner_can_enter_and_read(temporary: Path) -> None:
    store = SegmentStore(KB)
    store.put(segment(1))
    assert list(temporary.iterdir()) == []
    store.put(segment(2))
    (folder,) = temporary.iterdir()
    (file,) = folder.iterdir()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, file)] == [0o700, 0o600]
    store.close()
    assert list(temporary.iterdir()) == []


def test_stores_in_one_folder_leave_each_other_alone(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "when it is needed"
    one, two = SegmentStore(0, folder), SegmentStore(0, folder)
    address = one.put(segment(1))
    assert two.put(segment(1)) == address
    one.close()
    assert contents(two.get(address)) == contents(segment(1))
    two.close()
    assert list(folder.iterdir()) == []


def test_a_store_that_is_forgotten_takes_its_files_along(temporary: Path) -> None:
    store = SegmentStore(0)
    store.put(segment(1))
    del store
    gc.collect()
    assert list(temporary.iterdir()) == []


# -- threads and interrupts -----------------------------------------------------------------------


def test_what_is_in_memory_is_there_while_the_disk_is_slow(
    store: SegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, leaving = store.put(segment(1)), store.put(segment(2))
    writing, go_on = threading.Event(), threading.Event()
    write = store_module.write_segment

    def slowly(path: Path, segment: Segment, **options: bool) -> int:
        writing.set()
        go_on.wait()
        return write(path, segment, **options)

    monkeypatch.setattr(store_module, "write_segment", slowly)
    thread = threading.Thread(target=store.spill, args=[leaving])
    thread.start()
    writing.wait()
    assert store.get(here) is not None
    assert store.get(leaving) is not None
    store.put(segment(3))
    assert store.memory_bytes == 3 * KB
    with store.pinned([leaving]):
        go_on.set()
        thread.join()
        assert store.place(leaving) == "memory"


def test_logits_that_come_while_the_rows_are_written_are_not_lost(
    store: SegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = store.put(segment(1))
    write = store_module.write_segment

    def with_visitor(path: Path, written: Segment, **options: bool) -> int:
        store.put(segment(1, logits=True))
        return write(path, written, **options)

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "write_segment", with_visitor)
        store.spill(address)
    store.spill(address)
    assert contents(store.get(address)) == contents(segment(1, logits=True))


@pytest.mark.parametrize("sound", [True, False])
def test_what_is_put_while_its_file_is_read_is_kept(
    store: SegmentStore, monkeypatch: pytest.MonkeyPatch, sound: bool
) -> None:
    better = segment(1, logits=True)
    address = store.put(segment(1))
    store.spill(address)
    read = store_module.read_segment

    def with_visitor(path: Path) -> Segment:
        store.put(better)
        return read(path if sound else path.with_name("gone"))

    monkeypatch.setattr(store_module, "read_segment", with_visitor)
    assert store.get(address) is better
    assert store.get(address) is better


def test_a_callback_may_use_the_store(store: SegmentStore) -> None:
    places = []
    store.on_spill = lambda address: places.append((store.place(address), store.memory_bytes))
    store.max_bytes = 0
    store.put(segment(1))
    assert places == [("disk", 0)]


def test_what_comes_back_is_told(store: SegmentStore) -> None:
    told: list[tuple[str, str]] = []
    store.on_spill = lambda address: told.append(("spilled", address))
    store.on_recall = lambda address: told.append((store.place(address), address))
    put = segment(1)
    address = store.put(put)
    assert store.get(address) is put
    assert told == []
    store.spill(address)
    store.get(address)
    store.get(address)
    assert told == [("spilled", address), ("memory", address)]


def test_threads_share_a_store(store: SegmentStore, tmp_path: Path) -> None:
    store.max_bytes = 4 * KB
    expected = {put.address: put for put in (segment(i, logits=i % 2 == 0) for i in range(10))}
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        generator = random.Random(seed)
        mine: Counter[str] = Counter()
        try:
            for _ in range(1000):
                address = generator.choice(list(expected))
                if not mine[address] or generator.random() < 0.2:
                    store.put(expected[address])
                    mine[address] += 1
                elif generator.random() < 0.3:
                    store.release(address)
                    mine[address] -= 1
                elif generator.random() < 0.3:
                    store.spill(address)
                else:
                    with store.pinned([address]):
                        assert contents(store.get(address)) == contents(expected[address])
            for address in mine.elements():
                store.release(address)
        except BaseException as error:
            failures.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=[seed]) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not failures
    assert (len(store), store.memory_bytes, store.disk_bytes) == (0, 0, 0)
    assert files(tmp_path) == []


# An interrupt between opening a file and the `with` leaves closing it to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer")
def test_interrupts_leave_the_books_right(store: SegmentStore, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    store.max_bytes = 3 * KB
    expected = {put.address: put for put in (segment(i) for i in range(8))}
    generator = random.Random(1)
    interrupts = 0
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(1200):
            address = generator.choice(list(expected))
            latest = generator.choice([1e-4, 3e-4, 3e-3])
            try:
                signal.setitimer(signal.ITIMER_REAL, generator.uniform(1e-6, latest))
                store.put(expected[address])
                with store.pinned([address]):
                    store.get(address)
                store.spill(address)
                store.get(address)
                if generator.random() < 0.5:
                    store.release(address)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupts += 1
            assert not store._lock.locked()
            assert not store._disk.locked()
            assert not store._pins
            assert store._ledger.memory.keys() <= store._ledger.records.keys()
            assert store._ledger.sums == store._ledger._counted(store._ledger.records)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert interrupts > 100
    # No put is forgotten: what was counted can be got, or was interrupted, and says so.
    for address in list(store._ledger.records):
        got = store.get(address)
        if got is None:
            assert "interrupt" in str(store.why_lost(address))
        else:
            assert contents(got) == contents(expected[address])
    store.put(expected[address])
    assert store.memory_bytes == sum(s.n_bytes for s in store._ledger.memory.values()) <= 3 * KB
    for put in expected.values():  # a file that outlived an interrupted release gets its owner back
        store.put(put)
    while len(store):
        store.release(next(iter(store._ledger.records)))
    assert (store.memory_bytes, store.disk_bytes) == (0, 0)
    assert not [path for path in files(tmp_path) if path.suffix == ".segment"]


# -- processes -------------------------------------------------------------------------------------


def run_python(code: str, folder: Path) -> None:
    """Run code in another process, with segments, stores and a folder at hand."""
    beginning = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from state.segments import contents, segment
        from mullama_nb.state.store import SegmentStore
        folder = Path({str(folder)!r})
    """
    code = textwrap.dedent(beginning) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_files_go_when_their_process_ends_and_not_with_its_children(tmp_path: Path) -> None:
    run_python(
        """
        import os
        store = SegmentStore(0, folder)
        address = store.put(segment(1))
        child = os.fork()
        if child == 0:
            sys.exit()  # runs what is to be run at exit
        os.waitpid(child, 0)
        assert contents(store.get(address)) == contents(segment(1))
        """,
        tmp_path,
    )
    assert list(tmp_path.iterdir()) == []
