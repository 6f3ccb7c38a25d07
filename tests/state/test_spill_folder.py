from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from state.segments import contents, segment

from mullama_nb.state import spill_folder
from mullama_nb.state.spill_folder import SpillFolder
from mullama_nb.state.store import SegmentStore

pytestmark = pytest.mark.skipif(spill_folder.fcntl is None, reason="folders cannot be locked")

BEGINNING = """
import os, signal, sys, threading, time
from pathlib import Path
folder = Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
from state.segments import contents, segment
from mullama_nb.state import spill_folder
from mullama_nb.state.store import SegmentStore
"""


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(spill_folder, "_swept", set())
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@contextmanager
def running(folder: Path, code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs code and has printed a line; it is ended with the block."""
    arguments = [str(folder), str(Path(__file__).parents[1])]
    process = subprocess.Popen(
        [sys.executable, "-c", BEGINNING + textwrap.dedent(code), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process, process.stdin, process.stdout:
        try:
            assert process.stdout.readline() == "spilled\n"
            yield process
        finally:
            process.kill()


SPILL_AND_WAIT = """
store = SegmentStore(0, folder)
store.put(segment(1))
print("spilled", flush=True)
sys.stdin.read()
"""


def ended(process: subprocess.Popen[str], number: signal.Signals) -> int:
    process.send_signal(number)
    return process.wait()


def test_whoever_starts_next_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    with running(tmp_path, SPILL_AND_WAIT) as killed, running(tmp_path, SPILL_AND_WAIT) as alive:
        folders = set(tmp_path.iterdir())
        assert len(folders) == 2
        assert ended(killed, signal.SIGKILL) == -signal.SIGKILL
        assert set(tmp_path.iterdir()) == folders
        store = SegmentStore(0, tmp_path)  # before it needs a folder of its own
        (left,) = tmp_path.iterdir()
        spill_folder._swept.clear()
        SegmentStore(0, tmp_path)
        assert list(tmp_path.iterdir()) == [left]
        assert list(left.glob("*.segment"))
        assert alive.poll() is None
        store.close()


def test_a_process_that_inherited_the_store_keeps_its_folder(tmp_path: Path) -> None:
    code = """
    store = SegmentStore(0, folder)
    address = store.put(segment(1))
    if os.fork():
        os._exit(0)
    print("spilled", flush=True)
    sys.stdin.read()
    assert contents(store.get(address)) == contents(segment(1))
    print("still there", flush=True)
    """
    with running(tmp_path, code) as parent:
        parent.wait()
        SegmentStore(0, tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.close()
        assert parent.stdout.read() == "still there\n"
    spill_folder._swept.clear()
    SegmentStore(0, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_sigterm_removes_the_folder_and_still_ends_the_process(tmp_path: Path) -> None:
    with running(tmp_path, SPILL_AND_WAIT) as process:
        assert len(list(tmp_path.iterdir())) == 1
        assert ended(process, signal.SIGTERM) == -signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_sigterm_removes_what_was_spilled_on_other_threads(tmp_path: Path) -> None:
    code = """
    store = SegmentStore(0, folder)
    thread = threading.Thread(target=store.put, args=[segment(1)])
    thread.start()
    thread.join()
    store.put(segment(2))
    print("spilled", flush=True)
    sys.stdin.read()
    """
    with running(tmp_path, code) as process:
        assert ended(process, signal.SIGTERM) == -signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_sigterm_to_a_forked_child_leaves_its_parents_folder(tmp_path: Path) -> None:
    code = """
    store = SegmentStore(0, folder)
    address = store.put(segment(1))
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell, b"x")
        while True:
            time.sleep(0.01)
    os.read(ready, 1)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    assert contents(store.get(address)) == contents(segment(1))
    print("spilled", flush=True)
    """
    with running(tmp_path, code) as process:
        assert process.wait() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_handler_of_the_users_own_stays(tmp_path: Path) -> None:
    def mine(*_: object) -> None:
        pass

    for handler in (mine, signal.SIG_IGN):
        signal.signal(signal.SIGTERM, handler)
        store = SegmentStore(0, tmp_path)
        store.put(segment(1))
        assert signal.getsignal(signal.SIGTERM) is handler
        store.close()


def test_no_handler_is_set_before_something_is_spilled(tmp_path: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    store = SegmentStore(None, tmp_path)
    store.put(segment(1))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    store.spill(segment(1).address)
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    store.close()


@pytest.mark.parametrize("kind", ["name", "mode", "link", "file", "owner"])
def test_what_is_not_ours_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    place = tmp_path / "temporary"
    ours = place / "mullama-rows-abcd_123"
    for folder in (elsewhere, place):
        folder.mkdir(0o700)
    if kind == "name":
        ours = place / "mullama-rows-"
    if kind == "link":
        ours.symlink_to(elsewhere)
    elif kind == "file":
        ours.touch(0o700)
    else:
        ours.mkdir(0o755 if kind == "mode" else 0o700)
    if kind == "owner":
        uid = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    (elsewhere / "kept").touch()
    SegmentStore(0, place)
    assert os.path.lexists(ours)
    assert (elsewhere / "kept").exists()


def test_a_folder_that_cannot_be_locked_counts_as_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(spill_folder.fcntl, "flock", refuse)
    folder = SpillFolder(tmp_path)
    SegmentStore(0, tmp_path)
    assert folder.path.exists()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_who_starts_while_others_make_their_folders_takes_none_away(tmp_path: Path) -> None:
    code = """
    print("spilled", flush=True)
    for number in range(60):
        spill_folder._swept.clear()
        store = SegmentStore(0, folder)
        addresses = [store.put(segment(i)) for i in range(3)]
        for i, address in enumerate(addresses):
            assert contents(store.get(address)) == contents(segment(i)), store.why_lost(address)
        store.close()
    """
    with running(tmp_path, code) as one, running(tmp_path, code) as two:
        assert [one.wait(), two.wait()] == [0, 0]
    assert list(tmp_path.iterdir()) == []


def test_spilling_waits_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    store = SegmentStore(0, tmp_path)
    address = store.put(segment(1))
    assert contents(store.get(address)) == contents(segment(1))
    store.close()
    assert synced == []


def test_threads_other_than_the_main_one_may_spill_first(tmp_path: Path) -> None:
    store = SegmentStore(0, tmp_path)
    thread = threading.Thread(target=store.put, args=[segment(1)])
    thread.start()
    thread.join()
    assert store.place(segment(1).address) == "disk"
    store.close()
