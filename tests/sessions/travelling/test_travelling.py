"""Sessions go elsewhere and come back: only what is missing travels, and nothing is lost."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sessions.store_child import chain, check, save

from mullama_nb.errors import (
    MullamaWarning,
    ParameterError,
    SessionConflictError,
    SessionError,
    SessionFormatError,
    SessionNotFoundError,
    SessionRemoteError,
)
from mullama_nb.sessions.store import SessionStore
from mullama_nb.sessions.travelling.remote_store import RemoteStore


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each operation is called elsewhere, and the bytes that it moved."""
    from mullama_nb.sessions.travelling.file_system import FileSystem
    from mullama_nb.sessions.travelling.shared_folder import SharedFolder

    counted: Counter[str] = Counter()
    for kind in (FileSystem, SharedFolder):
        for name in ("files", "read", "write"):
            operation = getattr(kind, name)

            def call(
                self: Any, *arguments: Any, name: str = name, operation: Any = operation
            ) -> Any:
                counted[name] += 1
                if name == "write":
                    counted["bytes"] += len(arguments[1])
                return operation(self, *arguments)

            monkeypatch.setattr(kind, name, call)
    return counted


# -- there and back ------------------------------------------------------------------------------


def test_all_of_a_store_comes_to_another_machine(
    here: SessionStore, there: SessionStore, url: str
) -> None:
    for number, name in enumerate(("a", "Ärger", "b [1] #2", "Desk", "desk")):
        save(here, name, number)
    sent = here.push(url)
    assert sent.names == tuple(here.names())
    assert sent.n_segments == 10
    came = there.pull(url)
    assert came == sent
    assert there.names() == here.names()
    for name in here.names():
        check(there, name)
        assert there.record(name) == here.record(name)
    assert there.verify() == []
    assert there.gc() == 0
    for path in [there.folder, *there.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_single_names_travel(here: SessionStore, there: SessionStore, url: str) -> None:
    for number, name in enumerate("abc"):
        save(here, name, number)
    assert here.push(url, "a").names == ("a",)
    assert here.push(url, ["b", "a"]).names == ("b",)
    assert there.pull(url, ["b"]).names == ("b",)
    assert there.names() == ["b"]
    with pytest.raises(SessionNotFoundError, match=r"no session 'c'; there is a, b"):
        there.pull(url, ["a", "c"])
    with pytest.raises(SessionNotFoundError, match="no session 'x'; there is a, b, c"):
        here.push(url, ["a", "x"])
    for wrong in ("../a", 3, [3], Path("a")):
        with pytest.raises(ParameterError):
            here.push(url, wrong)  # type: ignore[arg-type]


def test_only_what_is_missing_travels(
    here: SessionStore, there: SessionStore, url: str, calls: Counter[str]
) -> None:
    save(here, "a", 1)
    first = here.push(url)
    assert (first.n_segments, first.n_bytes) == (2, calls["bytes"])
    save(here, "b", 11)  # the same beginning
    second = here.push(url)
    assert (second.names, second.unchanged, second.n_segments) == (("b",), ("a",), 1)
    assert first.n_bytes + second.n_bytes == calls["bytes"]
    there.pull(url, "a")
    calls.clear()
    came = there.pull(url)
    assert (came.names, came.unchanged, came.n_segments) == (("b",), ("a",), 1)
    assert (calls["read"], calls["write"]) == (2, 0)


def test_a_second_push_or_pull_moves_nothing_but_a_listing(
    here: SessionStore, there: SessionStore, url: str, calls: Counter[str]
) -> None:
    for number in range(5):
        save(here, f"name {number}", number)
    here.push(url)
    there.pull(url)
    for again in (here.push, there.push, there.pull, here.pull):
        calls.clear()
        done = again(url)
        assert (done.names, done.n_bytes) == ((), 0)
        assert len(done.unchanged) == 5
        assert calls["read"] == calls["write"] == 0
        assert calls["files"] <= 6


def test_what_is_there_already_under_another_name_is_not_sent(
    here: SessionStore, there: SessionStore, url: str
) -> None:
    save(here, "a", 1)
    here.push(url)
    here.copy("a", "b")
    here.rename("a", "c")
    sent = here.push(url)
    assert (sent.names, sent.n_segments) == (("b", "c"), 0)
    there.pull(url, ["b", "c"])
    check(there, "b")
    check(there, "c")


# -- both ends change ----------------------------------------------------------------------------


def test_what_is_newer_follows(here: SessionStore, there: SessionStore, url: str) -> None:
    for number in range(3):
        save(here, "a", number)
        here.push(url)
        there.pull(url)
        check(there, "a")
        assert len(there.versions("a")) == number + 1  # as for anything that is replaced
    save(there, "a", 7)
    there.push(url)
    assert here.push(url).unchanged == ("a",)  # what is there is newer, and nothing is missing
    here.pull(url)
    assert here.record("a") == there.record("a")


def test_what_changed_at_both_ends_is_never_replaced_unasked(
    here: SessionStore, there: SessionStore, url: str
) -> None:
    save(here, "a", 1)
    save(here, "b", 3)
    here.push(url)
    there.pull(url)
    save(here, "a", 2)
    save(there, "a", 4)
    save(there, "b", 5)
    there.push(url)
    with pytest.raises(SessionConflictError, match=r"'a' was pushed to .* from elsewhere"):
        here.push(url)
    with pytest.raises(SessionConflictError, match="'a' was changed here and elsewhere"):
        here.pull(url)
    assert here.record("b") == there.record("b")  # the others travel
    mine = here.record("a")
    assert here.pull(url, "a", replace=True).names == ("a",)
    assert here.record("a") == there.record("a")
    assert [version.is_current for version in here.versions("a")] == [False, False, True]
    here.restore("a")
    here.restore("a", 2)
    assert here.record("a") == mine
    here.push(url)  # it has seen the other
    there.pull(url)
    assert there.record("a") == mine


def test_two_that_never_met_do_not_replace_each_other(
    here: SessionStore, there: SessionStore, url: str
) -> None:
    save(here, "a", 1)
    save(there, "a", 2)
    here.push(url)
    with pytest.raises(SessionConflictError, match="not sent"):
        there.push(url)
    with pytest.raises(SessionConflictError, match="not pulled"):
        there.pull(url)
    check(there, "a")
    save(there, "a", 1)  # the same as there
    assert there.push(url).unchanged == there.pull(url).unchanged == ("a",)


def test_a_name_that_was_deleted_is_another_one(here: SessionStore, url: str) -> None:
    save(here, "a", 1)
    save(here, "b", 2)
    here.push(url)
    here.delete("a")
    here.rename("b", "c")
    save(here, "a", 3)
    save(here, "b", 4)
    for name in "ab":
        with pytest.raises(SessionConflictError, match="not sent"):
            here.push(url, name)
    here.delete("a")
    here.pull(url, "a")
    assert here.open_session("a")[2]["tokens"] == [1]


def test_going_back_travels_too(here: SessionStore, there: SessionStore, url: str) -> None:
    for number in (1, 2):
        save(here, "a", number)
        here.push(url)
    there.pull(url)
    here.restore("a", 1)
    assert here.push(url).n_segments == 0
    there.pull(url)
    assert there.record("a") == here.record("a")


def test_two_that_push_at_once_are_both_kept(
    here: SessionStore, there: SessionStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(here, "a", 1)
    here.push(url)
    there.pull(url)
    save(here, "a", 2)
    save(there, "a", 3)
    write = RemoteStore.write_entry

    def at_once(*arguments: Any) -> None:
        monkeypatch.setattr(RemoteStore, "write_entry", write)
        there.push(url)
        write(*arguments)

    monkeypatch.setattr(RemoteStore, "write_entry", at_once)
    with pytest.warns(MullamaWarning, match="at the same time"):
        here.push(url)
    third = SessionStore(here.folder.with_name("third"))
    with pytest.warns(MullamaWarning, match="from more than one place at once"):
        third.pull(url)
    held = [third.open_session("a")[2]["tokens"]]
    third.restore("a")
    held.append(third.open_session("a")[2]["tokens"])
    assert sorted(held) == [[2], [3]]
    third.push(url)  # it has both, so it goes on from both
    for store in (here, there):
        store.pull(url)
        assert store.open_session("a")[2]["tokens"] == held[-1]


@pytest.mark.parametrize("n", [2, 7, 20])
def test_any_number_at_once_come_together_again(
    here: SessionStore, there: SessionStore, memory: str, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    from mullama_nb.sessions.travelling import pushing

    with monkeypatch.context() as patched:
        patched.setattr(pushing.RemoteStore, "lineages", lambda *_: {})
        for number in range(n):
            store = SessionStore(here.folder.with_name(str(number)))
            save(store, "a", number)
            store.push(memory)
    with pytest.warns(MullamaWarning, match=f"{n - 1} of its"):
        here.pull(memory)
    assert len(here.versions("a")) == n
    save(here, "a", 100)
    here.push(memory)
    assert len(RemoteStore(memory).lineages(None)["a"].heads) == 1
    there.pull(memory)
    check(there, "a")


# -- places --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("", "given by a URL"),
        (3, "given by a URL"),
        ("s3:bucket/class", "no // behind"),
        ("simplecache::s3://bucket/class", "chains filesystems"),
        ("file://server/class", "names no folder"),
        ("nowhere://bucket", "no place that fsspec knows"),
    ],
)
def test_what_is_no_place_is_refused(here: SessionStore, wrong: str, said: str) -> None:
    save(here, "a", 1)
    for travel in (here.push, here.pull):
        with pytest.raises(ParameterError, match=said):
            travel(wrong)


def test_a_folder_has_a_url_too(here: SessionStore, there: SessionStore, tmp_path: Path) -> None:
    save(here, "a", 1)
    folder = tmp_path / "a folder with spaces"
    here.push(folder.as_uri())
    assert there.pull(folder).names == ("a",)
    assert there.pull(f"file://{folder}").unchanged == ("a",)


def test_a_live_store_is_no_place_to_push_to(here: SessionStore, there: SessionStore) -> None:
    save(here, "a", 1)
    save(there, "a", 2)
    for store in (here, there):
        for travel in (here.push, here.pull):
            with pytest.raises(ParameterError, match="is a live store"):
                travel(store.folder)


def test_an_empty_place_says_so(here: SessionStore, url: str) -> None:
    with pytest.raises(SessionNotFoundError, match="holds no sessions"):
        here.pull(url)
    with pytest.raises(SessionNotFoundError, match="no session 'a'; the folder holds none"):
        here.pull(url, "a")
    assert here.push(url) == here.push(url, [])
    assert not here.folder.exists()


def test_other_files_there_are_left_alone(
    here: SessionStore, there: SessionStore, tmp_path: Path
) -> None:
    save(here, "a", 1)
    shared = tmp_path / "shared"
    here.push(shared)
    (entry,) = (shared / "sessions" / "a").iterdir()
    strange = ["notes.txt", "sessions/.DS_Store", "sessions/a/b.json", "segments/x.segment"]
    strange += [f"sessions/Ä/{entry.name}", f"sessions/a/b/{entry.name}", "sessions/..a/x"]
    for path in strange:
        (shared / path).parent.mkdir(parents=True, exist_ok=True)
        (shared / path).write_text("not ours")
    assert there.pull(shared).names == ("a",)
    assert there.push(shared).unchanged == ("a",)
    assert {(shared / path).read_text() for path in strange} == {"not ours"}


def test_who_reads_a_shared_folder_is_for_its_maker_to_say(
    here: SessionStore, tmp_path: Path
) -> None:
    save(here, "a", 1)
    here.push(tmp_path / "mine")
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o700
    ours = tmp_path / "ours"
    ours.mkdir(mode=0o755)
    here.push(ours)
    for path in ours.rglob("*"):
        assert path.stat().st_mode & 0o444 == 0o444  # this umask lets everybody read


def test_a_missing_package_is_named(
    here: SessionStore, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(here, "a", 1)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(SessionRemoteError, match=r"pip install 'mullama-nb\[remote\]'"):
        here.push(memory)


def test_progress_is_told_in_bytes(here: SessionStore, there: SessionStore, url: str) -> None:
    for number, name in enumerate("abc"):
        save(here, name, number)
    for travel in (here.push, there.pull):
        told: list[tuple[int, int]] = []
        done = travel(url, progress=lambda *of, told=told: told.append(of))
        assert told[0] == (0, done.n_bytes)
        assert told[-1] == (done.n_bytes, done.n_bytes)
        assert told == sorted(told)
    with pytest.raises(ParameterError, match="progress="):
        here.push(url, progress="yes")  # type: ignore[arg-type]


# -- mending -------------------------------------------------------------------------------------


def test_a_segment_that_is_lost_comes_back_from_the_other_end(
    here: SessionStore, there: SessionStore, url: str
) -> None:
    save(here, "a", 1)
    here.push(url)
    there.pull(url)
    lost = there.segment_path(chain(1)[0].address)
    for damage in (lambda: lost.unlink(), lambda: lost.write_bytes(b"cut")):
        damage()
        assert there.verify()
        came = there.pull(url)
        assert (came.names, came.n_segments) == ((), 1)
        assert there.verify() == []
        check(there, "a")


def test_a_name_that_is_damaged_comes_back_where_that_is_said(
    here: SessionStore, there: SessionStore, url: str
) -> None:
    save(here, "a", 1)
    here.push(url)
    there.pull(url)
    connection = sqlite3.connect(there.folder / "catalog.sqlite")
    connection.execute("UPDATE versions SET record = record || ' '")
    connection.commit()
    connection.close()
    with pytest.raises(SessionFormatError, match="'a' is damaged"):
        there.push(url)
    assert there.pull(url).names == ()
    assert there.pull(url, replace=True).names == ("a",)
    check(there, "a")


def test_what_is_too_large_to_travel_says_so(
    here: SessionStore, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mullama_nb.sessions.travelling import manifest

    save(here, "a", 1)
    monkeypatch.setattr(manifest, "MOST_BYTES", 100)
    with pytest.raises(SessionError, match="'a' cannot travel"):
        here.push(memory)


def test_a_catalog_of_earlier_times_travels(here: SessionStore, memory: str) -> None:
    save(here, "a", 1)
    connection = sqlite3.connect(here.folder / "catalog.sqlite")
    connection.execute("DROP TABLE travelled")
    connection.commit()
    connection.close()
    assert here.push(memory).names == ("a",)
    assert here.pull(memory).unchanged == ("a",)


def test_files_come_and_go_while_a_folder_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mullama_nb.sessions.travelling.shared_folder import SharedFolder

    half, whole, walk = tmp_path / "a" / "half", tmp_path / "a" / "whole", os.walk
    half.parent.mkdir()
    half.write_bytes(b"1")
    whole.write_bytes(b"22")

    def and_then_it_goes(*arguments: Any, **options: Any) -> Iterator[Any]:
        for listed in walk(*arguments, **options):
            half.unlink(missing_ok=True)
            yield listed

    monkeypatch.setattr(os, "walk", and_then_it_goes)
    assert SharedFolder(tmp_path).files("a") == {"a/whole": 2}
