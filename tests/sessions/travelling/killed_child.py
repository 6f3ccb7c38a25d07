"""A process that pushes or pulls in children of its own, and kills them at each thing they do.

It prints how many moments there were.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

from sessions.store_child import chain, check, save

from mullama_nb.sessions import catalog
from mullama_nb.sessions.store import SessionStore

KILLED = 9


class Moments:
    """Counts what is done to files, and ends the process at one of them."""

    def __init__(self) -> None:
        self.left = sys.maxsize

    def passes(self) -> None:
        self.left -= 1
        if self.left < 0:
            os._exit(KILLED)

    def watched(self, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.passes()
            return function(*arguments, **options)

        return call


MOMENTS = Moments()


class Connection(sqlite3.Connection):
    """Counts changes, and does not wait for the disk: no power failure is looked at here."""

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if sql.startswith("PRAGMA synchronous"):
            return super().execute("PRAGMA synchronous = OFF")
        if not sql.startswith(("SELECT", "PRAGMA")):
            MOMENTS.passes()
        return super().execute(sql, *arguments)


def watch() -> None:
    connect = sqlite3.connect
    catalog.sqlite3.connect = lambda *a, **o: connect(*a, **o, factory=Connection)  # type: ignore[assignment]
    os.fsync = MOMENTS.watched(lambda _: None)
    os.write = MOMENTS.watched(os.write)
    for name in ("replace", "unlink", "mkdir"):
        setattr(Path, name, MOMENTS.watched(getattr(Path, name)))


def run(work: Path, what: str, last: int) -> None:
    MOMENTS.left = last
    if what == "push":
        SessionStore(work / "here").push(work / "shared")
    else:
        SessionStore(work / "there").pull(work / "shared")


def tokens(store: SessionStore) -> dict[str, list[int]]:
    return {name: store.open_session(name)[2]["tokens"] for name in store.names()}


def prepared(work: Path, what: str) -> None:
    here, there = SessionStore(work / "here"), SessionStore(work / "there")
    save(here, "a", 1)
    here.push(work / "shared")
    there.pull(work / "shared")
    save(here, "a", 2)
    save(here, "b", 3)
    if what == "pull":
        here.push(work / "shared")


def verified(work: Path, old: dict[str, list[int]]) -> None:
    """Both ends are whole, and what a reader sees is old or new."""
    here, there = SessionStore(work / "here"), SessionStore(work / "there")
    reader = SessionStore(work / "reader")
    reader.pull(work / "shared")
    for store in (there, reader):
        for name, held in tokens(store).items():
            assert held in (old.get(name), tokens(here)[name]), (name, held)
            check(store, name)
        assert store.verify() == []
    assert here.verify() == []
    save(here, "b", 5)  # its owner has gone on, and knows what is there as its own
    here.push(work / "shared")
    held = {path.stem for path in there.folder.rglob("*.segment")}
    needed = {each.address for number in tokens(here).values() for each in chain(*number)}
    assert there.pull(work / "shared").n_segments == len(needed - held)  # nothing comes twice
    assert tokens(there) == tokens(here)
    there.gc()
    assert [path.name for path in (there.folder / "arriving").iterdir()] == ["lock"]
    left = [path.name for path in (work / "shared").rglob("*") if path.suffix == ".tmp"]
    assert not left, left


def main() -> None:
    base, what = Path(sys.argv[1]), sys.argv[2]
    watch()
    prepared(base / "base", what)
    for moment in itertools.count():
        work = base / f"work {moment}"
        shutil.copytree(base / "base", work)
        child = os.fork()
        if not child:
            run(work, what, moment)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, KILLED), status
        verified(work, {"a": [1]})
        shutil.rmtree(work)
        if status == 0:
            break
    sys.stdout.write(str(moment))


if __name__ == "__main__":
    main()
