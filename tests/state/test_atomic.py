"""A reader finds the old file or the new one, whatever happens to the writer."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from state.helper import ModelMaker, context_of, some_tokens

from mullama_nb.errors import SessionWriteError
from mullama_nb.state import atomic
from mullama_nb.state.atomic import make_private_folder, move_into, write_atomically
from mullama_nb.state.file import read_session

if sys.platform == "win32":
    pytest.skip("signals, limits and permissions of POSIX", allow_module_level=True)

KILLS = 100
IS_ROOT = os.geteuid() == 0


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def unswept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process, which has not looked through any folder yet."""
    monkeypatch.setattr(atomic, "_swept", set())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


# -- a write that succeeds -----------------------------------------------------------------------


def test_pieces_are_written_in_order_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    numbers = np.arange(6, dtype=np.int16)
    n = write_atomically(path, [b"first", b"", memoryview(b"second"), numbers.data])
    assert path.read_bytes() == b"firstsecond" + numbers.tobytes()
    assert n == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names_in(tmp_path) == ["a"]


def test_an_open_reader_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o644)
    with path.open("rb") as reader:
        write_atomically(path, [b"new"])
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["x" * 255, "\N{SNOWMAN}" * 85, "-rf", "a b\nc", ".hidden"])
def test_any_name_that_a_file_may_have(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, [b"data"])
    assert names_in(tmp_path) == [name]


def test_a_link_is_replaced_and_what_it_led_to_is_not(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"mine")
    link.symlink_to(target)
    write_atomically(link, [b"new"])
    assert (target.read_bytes(), link.read_bytes()) == (b"mine", b"new")


# -- a write that fails --------------------------------------------------------------------------


def check_refusal(path: Path, size: int, words: str) -> None:
    """The old file is there, and nothing else."""
    before = names_in(path.parent)
    with pytest.raises(SessionWriteError, match=words) as caught:
        write_atomically(path, [b"\1" * size])
    assert isinstance(caught.value, OSError)
    assert path.read_bytes() == b"old"
    assert names_in(path.parent) == before


def test_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "a.session"
    path.write_bytes(b"old")
    check_refusal(path, 1 << 20, r"a\.session could not be written after .*: No space left")
    write_atomically(path, [b"\1" * 1000])


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    """Python ignores the signal that this limit sends, so writing ends with an error."""
    path = tmp_path / "a.session"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        check_refusal(path, 20_000, "could not be written after 10,000 bytes: File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    write_atomically(path, [b"\1" * 20_000])


@pytest.mark.skipif(IS_ROOT, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    path.write_bytes(b"old")
    tmp_path.chmod(0o500)
    try:
        check_refusal(path, 10, "Permission denied")
    finally:
        tmp_path.chmod(0o700)


def test_a_read_only_file_system(small_disk: Path) -> None:
    path = small_disk / "a.session"
    path.write_bytes(b"old")
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    if subprocess.run(remount, capture_output=True).returncode:
        pytest.skip("remounting is not allowed here")
    check_refusal(path, 10, "Read-only file system")
    with pytest.raises(SessionWriteError, match="the folder 'new' cannot be made: Read-only"):
        make_private_folder(small_disk / "new")


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    for path, words in (
        (tmp_path / "missing" / "a", "No such file"),
        (tmp_path / "file" / "a", "Not a directory"),
        (tmp_path / "folder", "Is a directory"),
        (tmp_path / ("x" * 256), "File name too long"),
        (tmp_path / "a\0b", "null"),
        (Path(), "'.' names no file"),
        (Path("/"), "'/' names no file"),
    ):
        with pytest.raises(SessionWriteError, match=words):
            write_atomically(path, [b"data"])
    assert names_in(tmp_path) == ["file", "folder"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_write_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise error

    with pytest.raises(error):
        write_atomically(path, pieces())
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a"]


# -- folders -------------------------------------------------------------------------------------


def test_a_missing_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    make_private_folder(folder)  # what is there is left as it is
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for folder in (tmp_path / "file", tmp_path / "file" / "a", tmp_path / "link"):
        with pytest.raises(SessionWriteError, match=f"'{folder.name}' cannot be made"):
            make_private_folder(folder)
    with pytest.raises(SessionWriteError, match="null"):
        make_private_folder(tmp_path / "a\0b")


# -- what killed writers leave -------------------------------------------------------------------


@pytest.mark.usefixtures("unswept")
def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".mullama-0123456789abcdef.tmp"
    left.write_bytes(b"half")
    others = [".mullama-0123456789abcdef.tmp.bak", ".mullama-xyz.tmp", ".other.tmp", "b.session"]
    for name in others:
        (tmp_path / name).write_bytes(b"not mine")
    (tmp_path / ".mullama-ffffffffffffffff.tmp").symlink_to(tmp_path / "b.session")
    write_atomically(tmp_path / "a", [b"data"])
    assert not left.exists()
    assert names_in(tmp_path) == sorted([*others, ".mullama-ffffffffffffffff.tmp", "a"])


@pytest.mark.usefixtures("unswept")
def test_what_is_being_written_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second writer looks through the folder in the middle of the first one's work."""

    def pieces() -> Iterator[bytes]:
        yield b"half"
        monkeypatch.setattr(atomic, "_swept", set())
        write_atomically(tmp_path / "second", [b"data"])
        yield b" and half"

    write_atomically(tmp_path / "first", pieces())
    assert (tmp_path / "first").read_bytes() == b"half and half"
    assert names_in(tmp_path) == ["first", "second"]


@pytest.mark.usefixtures("unswept")
def test_a_file_that_is_not_locked_yet_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer removes it between its making and its locking."""
    import fcntl

    lock, n_removed = fcntl.flock, 0

    def flock(descriptor: int, how: int) -> None:
        nonlocal n_removed
        if how == fcntl.LOCK_EX and n_removed < 2:
            n_removed += 1
            for path in tmp_path.glob(".mullama-*.tmp"):
                path.unlink()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    write_atomically(tmp_path / "a", [b"data"])
    assert n_removed == 2
    assert (tmp_path / "a").read_bytes() == b"data"
    assert names_in(tmp_path) == ["a"]


# A fork is a new process without the time that it takes to start one.
SAVER = """
import os, sys
from pathlib import Path
from mullama_nb.state.file import read_session, write_session

path, *files = map(Path, sys.argv[1:])
sessions = [read_session(file) for file in files]
for _ in sys.stdin:
    sessions.reverse()
    child = os.fork()
    if child == 0:
        write_session(path, sessions[1])
        print(os.getpid(), flush=True)  # from now on it is always at a write
    while child == 0:
        for session in sessions:
            write_session(path, session)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


@pytest.mark.slow
def test_killed_savers_leave_one_of_two_sessions(tiny: ModelMaker, tmp_path: Path) -> None:
    """Over and over: a process saves two sessions in turn, and is killed at any moment."""
    folder = tmp_path / "sessions"
    with context_of(tiny(), n_ctx=1024) as context:
        context.evaluate(some_tokens(400))
        context.save_session(tmp_path / "short")
        context.evaluate(some_tokens(500, seed=1))
        context.save_session(tmp_path / "long")
        states = {(tmp_path / name).read_bytes() for name in ("short", "long")}
        context.save_session(folder / "a.session")

    path = folder / "a.session"
    command = [sys.executable, "-c", SAVER, path, tmp_path / "short", tmp_path / "long"]
    found = {True: 0, False: 0}
    n_left = 0
    chance = random.Random(0)
    with subprocess.Popen(
        [*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(KILLS):
            process.stdin.write("go\n")
            process.stdin.flush()
            child = int(process.stdout.readline())
            time.sleep(chance.uniform(0, 0.02))
            os.kill(child, signal.SIGKILL)
            assert process.stdout.readline() == "dead\n"
            data = path.read_bytes()
            assert data in states
            found[data == (tmp_path / "short").read_bytes()] += 1
            left = [name for name in names_in(folder) if name != "a.session"]
            assert len(left) <= 1, "what one killed writer left, the next one removes"
            n_left += len(left)
        process.stdin.close()
    assert min(found.values()) > KILLS // 10
    assert n_left > KILLS // 10, "kills should fall into the middle of writes"
    read_session(path)


def test_a_file_for_others_is_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "ours", [b"x"], private=False)
        write_atomically(tmp_path / "mine", [b"x"])
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "mine")]
    assert modes == [0o640, 0o600]


def test_files_are_moved_or_it_is_said_which_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in "ab":
        (tmp_path / name).write_text(name)
    move_into(folder, [tmp_path / "a", tmp_path / "b"])
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "a", "b": "b"}
    with pytest.raises(SessionWriteError, match="c could not be moved into folder"):
        move_into(folder, [tmp_path / "c"])
