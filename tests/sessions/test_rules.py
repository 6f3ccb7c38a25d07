"""Names, versions and owners against a plain model, after every step of a random walk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sessions.store_child import BODY, METADATA, entry

from mullama_nb.errors import SessionConflictError, SessionError, SessionNotFoundError
from mullama_nb.sessions.entries import sum_text
from mullama_nb.sessions.owners import Owner
from mullama_nb.sessions.records import Record
from mullama_nb.sessions.store import SessionStore
from mullama_nb.sessions.versions import Place, Written

NAMES = st.sampled_from(["a", "b"])
ACTORS = st.integers(0, 1)


@dataclass
class Version:
    number: int
    content: int
    saved: int = 1  # how often
    owner: Actor | None = None


@dataclass
class Actor:
    """One who saves a chat, and what he knows of versions."""

    places: dict[int, Place] = field(default_factory=dict)
    knows: dict[int, int] = field(default_factory=dict)  # how often a version had been saved
    owner: Owner | None = None


def written(content: int) -> Callable[[int | None], Written]:
    row = entry(0, "0" * 20, None, None).row("x")
    places = {"head": 0, "redo": [], "tags": {}, "n_made": 0}
    record = Record("chat", METADATA, content, (), "", 1, sum_text(row.digest), places)
    return lambda version: Written(record, BODY, [] if version else [row])


class Names(RuleBasedStateMachine):
    """The store, and beside it lists of versions, the current one last where it is not told."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = SessionStore(self.folder.name)
        self.actors = [Actor() for _ in range(2)]
        self.names: dict[str, list[Version]] = {}
        self.current: dict[str, Version] = {}
        self.n = 0
        self.gone: list[Version] = []  # kept, so that none has the identity of another

    def teardown(self) -> None:
        for actor in self.actors:
            if actor.owner is not None:
                actor.owner.end()
        self.folder.cleanup()

    def _is_held(self, name: str, actor: Actor | None) -> bool:
        owner = self.current[name].owner
        return owner is not None and owner is not actor and owner.owner is not None

    def _attempt(self, error: type[SessionError] | None, job: Callable[[], Any]) -> bool:
        if error is None:
            job()
            return True
        with pytest.raises(error):
            job()
        return False

    @rule(who=ACTORS, name=NAMES, replace=st.booleans(), take_over=st.booleans(), own=st.booleans())
    def save(self, who: int, name: str, replace: bool, take_over: bool, own: bool) -> None:
        actor, version = self.actors[who], self.current.get(name)
        if own and actor.owner is None:
            actor.owner = Owner(Path(self.folder.name))
        knows = version is not None and actor.knows.get(id(version)) == version.saved
        error = None
        if version is not None:
            is_held = self._is_held(name, actor) and not take_over
            error = SessionConflictError if is_held or not (knows or replace) else None
        self.n += 1
        done = list[Place]()

        def job() -> None:
            done.append(
                self.store.save(
                    name, "chat", written(self.n), lambda _: None, origins=actor.places,
                    owner=actor.owner, replace=replace, take_over=take_over,
                )
            )  # fmt: skip

        if not self._attempt(error, job):
            return
        if version is not None and knows:
            version.content, version.saved = self.n, version.saved + 1
        else:
            if version is not None:
                version.owner = None
            versions = self.names.setdefault(name, [])
            version = Version(1 + max((v.number for v in versions), default=0), self.n)
            versions.append(version)
            self.current[name] = version
        if actor.owner is not None:
            version.owner = actor
        elif take_over:
            version.owner = None
        actor.places[done[0].version] = done[0]
        actor.knows[id(version)] = version.saved

    @rule(who=ACTORS)
    def end(self, who: int) -> None:
        actor = self.actors[who]
        if actor.owner is not None:
            actor.owner.end()
        actor.owner = None
        for versions in self.names.values():
            for version in versions:
                if version.owner is actor:
                    version.owner = None

    @rule(who=ACTORS, name=NAMES)
    def open(self, who: int, name: str) -> None:
        if name in self.current:
            place, record, _, _ = self.store.open_chat(name)
            assert record.n_tokens == self.current[name].content
            self.actors[who].places[place.version] = place
            self.actors[who].knows[id(self.current[name])] = self.current[name].saved

    def _error(self, name: str, *, take_over: bool) -> type[SessionError] | None:
        if name not in self.current:
            return SessionNotFoundError
        return SessionConflictError if self._is_held(name, None) and not take_over else None

    @rule(name=NAMES, take_over=st.booleans())
    def delete(self, name: str, take_over: bool) -> None:
        error = self._error(name, take_over=take_over)
        if self._attempt(error, lambda: self.store.delete(name, take_over=take_over)):
            self.gone += self.names.pop(name)
            del self.current[name]

    @rule(name=NAMES, new=NAMES, take_over=st.booleans())
    def rename(self, name: str, new: str, take_over: bool) -> None:
        error = self._error(name, take_over=take_over)
        if error is None and new in self.current:
            error = SessionConflictError
        if self._attempt(error, lambda: self.store.rename(name, new, take_over=take_over)):
            self.names[new], self.current[new] = self.names.pop(name), self.current.pop(name)
            self.current[new].owner = None

    @rule(name=NAMES, new=NAMES)
    def copy(self, name: str, new: str) -> None:
        error: type[SessionError] | None = self._error(name, take_over=True)
        if error is None and new in self.current:
            error = SessionConflictError
        if self._attempt(error, lambda: self.store.copy(name, new)):
            self.current[new] = Version(1, self.current[name].content)
            self.names[new] = [self.current[new]]

    @rule(name=NAMES, number=st.none() | st.integers(1, 5), take_over=st.booleans())
    def restore(self, name: str, number: int | None, take_over: bool) -> None:
        error = self._error(name, take_over=take_over)
        found = [
            v
            for v in self.names.get(name, ())
            if (v is not self.current[name] if number is None else v.number == number)
        ]
        if error is None and not found:
            error = SessionNotFoundError
        job = lambda: self.store.restore(name, number, take_over=take_over)  # noqa: E731
        if self._attempt(error, job) and found[-1] is not self.current[name]:
            self.current[name].owner = found[-1].owner = None
            self.current[name] = found[-1]
            found[-1].saved += 1

    @rule()
    def collect(self) -> None:
        self.store.gc()
        self.gone += [v for versions in self.names.values() for v in versions]
        self.names = {name: [version] for name, version in self.current.items()}

    @invariant()
    def names_mean_what_they_should(self) -> None:
        assert self.store.names() == sorted(self.current)
        for name, version in self.current.items():
            found = self.store.versions(name)
            expected = [(v.number, v.content, v is version) for v in self.names[name]]
            assert [(v.version, v.n_tokens, v.is_current) for v in found] == expected
            assert self.store.info(name).is_live == self._is_held(name, None)
        assert self.store.verify() == []


Names.TestCase.settings = settings(max_examples=12, stateful_step_count=40, deadline=None)
TestNames = Names.TestCase
