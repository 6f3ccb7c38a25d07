"""Reading needs no write, deleting no room, and neither looks at what it is not about."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sessions.store_child import check, save
from tiny_models import CHATML

from mullama_nb import Chat, Model
from mullama_nb.errors import SessionError, SessionWriteError
from mullama_nb.sessions import catalog
from mullama_nb.sessions.store import SessionStore
from mullama_nb.sessions.versions import Versions, checksum

ModelMaker = Callable[..., Model]
CHILD = Path(__file__).with_name("read_only_child.py")


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def read_everything(folder: Path) -> None:
    store = SessionStore(folder)
    assert store.names() == ["a", "b"]
    assert "a" in store
    assert [entry.name for entry in store.entries()] == ["a", "b"]
    assert store.info("a").n_tokens == 4
    assert store.verify() == []
    assert store.bytes_written() > 0
    assert [entry.version for entry in store.versions("a")] == [1]
    for name in ("a", "b"):
        check(store, name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, number in (("a", 1), ("b", 11)):
        save(SessionStore(tmp_path / "store"), name, number)
    return tmp_path / "store"


def test_reading_makes_and_changes_nothing(folder: Path, tmp_path: Path) -> None:
    before = files(folder)
    read_everything(folder)
    assert files(folder) == before
    nowhere = SessionStore(tmp_path / "nowhere")
    assert nowhere.names() == nowhere.entries() == nowhere.verify() == []
    assert nowhere.gc() == 0
    assert not nowhere.folder.exists()


@functools.cache
def mounting() -> list[str]:
    """What a command with mounts of its own begins with; empty where there can be none."""
    for own in ((), ("--user", "--map-root-user")):
        command = ["unshare", *own, "--mount"]
        with contextlib.suppress(OSError):
            trial = [*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
            if subprocess.run(trial, capture_output=True).returncode == 0:
                return command
    return []


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_read(folder: Path) -> None:
    """On a real read-only mount where one may be made, and as another user where not."""
    if mounting():
        script = f'mount --bind "{folder}" "{folder}" && mount -o remount,bind,ro "{folder}"'
        command = [*mounting(), "sh", "-c", f'{script} && exec "$@"', "sh"]
    else:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o500 if path.is_dir() else 0o400)
        command = []
    done = subprocess.run([*command, sys.executable, CHILD, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["read", "refused"]


def _killed_while_committing(folder: Path) -> None:
    """Leave a journal that has to be rolled back."""
    code = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE versions SET record = hex(zeroblob(20000))")
connection.execute("CREATE TABLE large AS SELECT hex(zeroblob(400000)) AS x")
connection.execute("DELETE FROM versions")
os._exit(9)
"""
    path = folder / "catalog.sqlite"
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == 9
    assert (folder / "catalog.sqlite-journal").stat().st_size > 0


def test_what_a_killed_writer_left_is_read_without_writing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _killed_while_committing(folder)
    before = files(folder)
    connect = sqlite3.connect

    def read_only(place: Any, *arguments: Any, **options: Any) -> Any:
        if str(folder) in str(place):
            place = str(place).replace("mode=rw", "mode=ro")
        return connect(place, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(catalog.sqlite3, "connect", read_only)
        read_everything(folder)
    assert files(folder) == before
    read_everything(folder)  # where it may, it is rolled back


# -- a full disk ---------------------------------------------------------------------------------


FULL = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from sessions.store_child import check, save
from mullama_nb.errors import SessionError
from mullama_nb.sessions.store import SessionStore

store = SessionStore(sys.argv[1])
for name, number in (("a", 1), ("b", 11), ("c", 22)):
    save(store, name, number)
    store.copy(name, name * 2)
ballast = Path(sys.argv[1]) / "ballast"
with ballast.open("wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(512))
    except OSError:
        pass
try:
    save(store, "d", 23)
except SessionError:
    pass
else:
    raise AssertionError("the disk is not full")
assert store.names() == ["a", "aa", "b", "bb", "c", "cc"]
for name in store.names():
    check(store, name)
assert store.verify() == []
for name in ("aa", "a", "b", "bb"):
    store.delete(name)
assert store.names() == ["c", "cc"]
ballast.unlink()
check(store, "c")
store.gc()
assert len([*(store.folder / "segments").iterdir()]) == 2
assert store.verify() == []
save(store, "d", 23)
"""


@pytest.mark.slow
def test_a_full_disk_is_read_and_what_is_deleted_makes_room(tmp_path: Path) -> None:
    if not mounting():
        pytest.skip(
            "no small disk can be mounted here; the test below has one that says it is full"
        )
    small = tmp_path / "small"
    small.mkdir()
    script = f'mount -t tmpfs -o size=256k tmpfs "{small}" && exec "$@"'
    paths = [path for path in sys.path if path]
    done = subprocess.run(
        [*mounting(), "sh", "-c", script, "sh", sys.executable, "-c", FULL, small, *paths],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_what_has_no_room_to_be_forgotten_gets_it_from_its_rows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes nothing until a segment is removed."""
    segments = folder / "segments"
    n_before = len([*segments.iterdir()])
    connect = sqlite3.connect

    class Full(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and len([*segments.iterdir()]) == n_before:
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *arguments)

    monkeypatch.setattr(catalog.sqlite3, "connect", lambda *a, **o: connect(*a, **o, factory=Full))
    store = SessionStore(folder)
    with pytest.raises(SessionWriteError, match="full"):
        store.copy("a", "c")
    store.delete("a")
    assert store.names() == ["b"]
    check(store, "b")
    assert store.verify() == []


# -- costs ---------------------------------------------------------------------------------------


class Counted:
    """Counts what SQLite is asked and how many steps it takes for that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = self.statements = 0
        connect = sqlite3.connect

        def counting(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)

            def step() -> int:
                self.steps += 1
                return 0

            def trace(_: str) -> None:
                self.statements += 1

            connection.set_progress_handler(step, 10)
            connection.set_trace_callback(trace)
            return connection

        monkeypatch.setattr(catalog.sqlite3, "connect", counting)

    def of(self, job: Callable[[], object]) -> tuple[int, int]:
        self.steps = self.statements = 0
        job()
        return self.statements, self.steps


def _filled(folder: Path, n: int) -> SessionStore:
    store = SessionStore(folder)
    save(store, "name 0", 5)
    with store.catalog.writing() as connection:
        ((version, text),) = connection.execute("SELECT id, record FROM versions").fetchall()
        uses = connection.execute("SELECT number, address FROM uses").fetchall()
        for i in range(1, n):
            row = (version + i, f"name {i}", text, checksum(version + i, f"name {i}", text))
            connection.execute("INSERT INTO versions VALUES (?, ?, 1, 1, 1, 1, ?, ?)", row)
            connection.executemany(
                "INSERT INTO uses VALUES (?, ?, ?)", [(version + i, *use) for use in uses]
            )
    return store


def test_one_name_costs_the_same_among_few_and_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [_filled(tmp_path / str(n), n) for n in (20, 2000)]
    counted = Counted(monkeypatch)
    for job in (
        lambda store: save(store, "new", 7),
        lambda store: save(store, "new", 17),
        lambda store: store.info("new"),
        lambda store: store.copy("new", "newer"),
        lambda store: store.rename("newer", "newest"),
        lambda store: store.delete("newest"),
        lambda store: "name 7" in store,
    ):
        few, many = (counted.of(functools.partial(job, store)) for store in stores)
        assert many[0] == few[0]
        assert many[1] <= 1.5 * few[1] + 20


def _line(model: Model, folder: Path, n: int) -> Chat:
    chat = Chat(model, n_ctx=512, n_threads=1)
    for _ in range(n):
        chat.tree.commit(allow_empty=True, role="user", message={"role": "user", "content": "x"})
    chat.autosave("line", folder)
    return chat


def test_a_turn_that_is_saved_costs_the_same_in_short_and_long_chats(
    tiny: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(chat_template=CHATML)
    chats = [_line(model, tmp_path / str(n), n) for n in (5, 600)]
    counted = Counted(monkeypatch)
    n_rows: list[int] = []
    rewrite = Versions.rewrite

    def noted(self: Versions, version: Any, written: Any) -> Any:
        n_rows.append(len(written.rows))
        return rewrite(self, version, written)

    monkeypatch.setattr(Versions, "rewrite", noted)

    def turn(chat: Chat) -> None:
        with chat.tree.turn():
            chat.context.evaluate([7, 8])
            chat.tree.commit()

    for job in (turn, turn, lambda chat: chat.tag(f"tag {len(chat.tree.tags)}")):
        few, many = (counted.of(functools.partial(job, chat)) for chat in chats)
        assert many[0] == few[0]
        assert many[1] <= 1.5 * few[1] + 20
        assert n_rows[-2] == n_rows[-1] <= 1
    for job in (lambda chat: chat.tree.undo(), lambda chat: chat.undo(), lambda chat: chat.redo()):
        for chat in chats:
            assert counted.of(functools.partial(job, chat)) == (0, 0)


def calls(job: Callable[[], object]) -> int:
    """How many functions run."""
    n = 0

    def count(*_: object) -> None:
        nonlocal n
        n += 1

    sys.setprofile(count)
    try:
        job()
    finally:
        sys.setprofile(None)
    return n


def test_work_is_flat_for_a_turn_and_in_proportion_for_opening(
    tiny: ModelMaker, tmp_path: Path
) -> None:
    model, n_long = tiny(chat_template=CHATML), 400
    chats = [_line(model, tmp_path / str(n), n) for n in (n_long // 4, n_long)]

    def turn(chat: Chat) -> None:
        with chat.tree.turn():
            chat.tree.commit(
                allow_empty=True, role="user", message={"role": "user", "content": "x"}
            )

    for chat in chats:
        turn(chat)  # some things are done once
    few, many = (calls(functools.partial(turn, chat)) for chat in chats)
    assert many <= 1.2 * few
    for chat in chats:
        chat.autosave(None)
    few, many = (
        calls(functools.partial(Chat.open, "line", model, tmp_path / str(n)))
        for n in (n_long // 4, n_long)
    )
    assert many <= 4.5 * few


def test_where_a_catalog_cannot_be_read_the_advice_can_be_followed(folder: Path) -> None:
    path = folder / "catalog.sqlite"
    path.write_bytes(b"no database, but long enough" * 200)
    with pytest.raises(SessionError, match="move it out of the folder to begin anew"):
        SessionStore(folder).names()
    with pytest.raises(SessionError, match="move it out of the folder to begin anew"):
        SessionStore(folder).delete("a")
    shutil.move(path, folder.parent / "old.sqlite")
    save(SessionStore(folder), "a", 1)
    check(SessionStore(folder), "a")
