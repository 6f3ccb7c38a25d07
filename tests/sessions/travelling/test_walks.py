"""Whatever is done at three machines in any order: nothing is replaced that was not seen."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sessions.store_child import check, save

from mullama_nb.errors import SessionConflictError, SessionNotFoundError
from mullama_nb.sessions.store import SessionStore
from mullama_nb.sessions.travelling.remote_store import RemoteStore

OPERATIONS = ("save", "save", "push", "push", "pull", "pull", "replace", "restore", "delete", "gc")
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(OPERATIONS), st.sampled_from("ab")), max_size=25
)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power failure is waited for."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def place() -> Iterator[str]:
    from fsspec.implementations.memory import MemoryFileSystem

    place = f"/{secrets.token_hex(8)}"
    yield place
    if MemoryFileSystem().exists(place):
        MemoryFileSystem().rm(place, recursive=True)


class Walk:
    """Three stores, one place, and what each store has had under each name."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.stores = [SessionStore(folder / str(n)) for n in range(3)]
        self.seen: dict[tuple[int, str], set[int]] = {}
        self._numbers = itertools.count(1)

    def held(self, store: SessionStore, name: str) -> int | None:
        return store.open_session(name)[2]["tokens"][0] if name in store else None

    def there(self, name: str) -> dict[str, tuple[int, tuple[str, ...]]]:
        """Number and parents of each entry of a name, by id."""
        remote = RemoteStore(self.url)
        lineage = remote.lineages([name]).get(name)
        entries = {} if lineage is None else lineage.entries
        segments = remote.segments()
        found = {}
        for entry in entries.values():
            manifest = remote.manifest(name, entry)
            assert {*manifest.addresses} <= {*segments}
            found[entry.id] = manifest.written.body["tokens"][0], entry.follows
        return found

    def step(self, n: int, what: str, name: str) -> None:
        store, before, there = self.stores[n], self.held(self.stores[n], name), self.there(name)
        seen = self.seen.setdefault((n, name), set())
        if what == "save":
            save(store, name, next(self._numbers))
        elif what == "gc":
            store.gc()
        elif what == "delete":
            with contextlib.suppress(SessionNotFoundError):
                store.delete(name)
                seen.clear()
        elif what == "restore":
            with contextlib.suppress(SessionNotFoundError):
                store.restore(name)
        else:
            self._travel(n, what, name, before, there)
        now = self.held(store, name)
        seen |= {now} - {None}
        if what in ("push", "gc"):
            assert now == before
        after = self.there(name)
        assert there.items() <= after.items()  # nothing is removed or changed
        if what != "push":
            assert after == there
        for each in store.names():
            check(store, each)
        assert store.verify() == []

    def _travel(
        self,
        n: int,
        what: str,
        name: str,
        before: int | None,
        there: dict[str, tuple[int, tuple[str, ...]]],
    ) -> None:
        store, seen = self.stores[n], self.seen[n, name]
        numbers = {number for number, _ in there.values()}
        try:
            if what == "push":
                done = store.push(self.url, name)
            else:
                done = store.pull(self.url, name, replace=what == "replace")
        except SessionNotFoundError:
            assert before is None if what == "push" else not there
            return
        except SessionConflictError:
            assert what != "replace"
            return
        after = self.there(name)
        followed = {parent for _, parents in after.values() for parent in parents}
        heads = [entry for entry in after if entry not in followed]
        assert len(heads) == 1  # they push one after the other
        number, parents = after[heads[0]]
        if what == "push":
            assert before in {number for number, _ in after.values()}
            if name in done.names:
                assert number == before
                assert {there[parent][0] for parent in parents} <= seen
        elif name in done.names:
            assert self.held(store, name) == number
            assert before is None or what == "replace" or before in numbers
            versions = [version.version for version in store.versions(name)]
            assert before is None or len(versions) > 1  # yours is an earlier version
        elif number not in seen:  # what is there is not newer
            raise AssertionError(f"{number} was not pulled")

    def end(self) -> None:
        """All come together in what is there."""
        for store in self.stores:
            with contextlib.suppress(SessionNotFoundError):
                store.pull(self.url, replace=True)
            for name in store.names():
                store.push(self.url, name)
        for store in self.stores:
            with contextlib.suppress(SessionNotFoundError):
                store.pull(self.url)
        held = [{name: self.held(store, name) for name in store.names()} for store in self.stores]
        assert held[0] == held[1] == held[2]


@pytest.mark.slow
@given(steps=STEPS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nothing_is_replaced_unseen(
    tmp_path: Path, place: str, steps: list[tuple[int, str, str]]
) -> None:
    example = secrets.token_hex(4)
    walk = Walk(tmp_path / example, f"memory:/{place}/{example}")
    for step in steps:
        walk.step(*step)
    walk.end()
