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

from sessions.store_child import check, save

from mullama_nb.sessions import catalog
from mullama_nb.sessions.store import SessionStore

KILLED = 9


class Moments:
    """Counts what is done to files, and ends the process at one of them."""

    def __init__(self, last: int) -> None:
        self.left = last

    def passes(self) -> None:
        self.left -= 1
        if self.left < 0:
            os._exit(KILLED)

    def watched(self, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.passes()
            return function(*arguments, **options)

        return call


def run(work: Path, what: str, last: int) -> None:
    moments = Moments(last)

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if not sql.startswith(("SELECT", "PRAGMA")):
                moments.passes()
            return super().execute(sql, *arguments)

    connect = sqlite3.connect
    catalog.sqlite3.connect = lambda *a, **o: connect(*a, **o, factory=Connection)  # type: ignore[assignment]
    for owner, name in (
        (os, "write"),
        (os, "fsync"),
        (Path, "replace"),
        (Path, "unlink"),
        (Path, "mkdir"),
    ):
        setattr(owner, name, moments.watched(getattr(owner, name)))
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
    there.pull(work / "shared")
    assert tokens(there) == tokens(here)
    there.gc()
    assert [path.name for path in (there.folder / "arriving").iterdir()] == ["lock"]
    left = [path.name for path in (work / "shared").rglob("*") if path.suffix == ".tmp"]
    assert not left, left


def main() -> None:
    base, what = Path(sys.argv[1]), sys.argv[2]
    prepared(base / "base", what)
    os.fsync = lambda _: None
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
