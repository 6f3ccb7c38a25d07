from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from state.segments import KB, contents, files, segment

from mullama_nb.state.segment import Segment
from mullama_nb.state.store import SegmentStore


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


class Model(RuleBasedStateMachine):
    """The store beside a dict of what was put, with references counted."""

    @property
    def known(self) -> list[str]:
        return sorted(self.references)

    def __init__(self) -> None:
        super().__init__()
        self.cleanup = ExitStack()
        self.folder = Path(self.cleanup.enter_context(TemporaryDirectory()))
        self.store = SegmentStore(3 * KB, self.folder)
        self.expected: dict[str, Segment] = {}
        self.references: Counter[str] = Counter()
        self.lost: set[str] = set()
        self.pins: list[tuple[ExitStack, frozenset[str]]] = []

    def teardown(self) -> None:
        for stack, _ in self.pins:
            stack.close()
        self.store.close()
        assert list(self.folder.iterdir()) == []
        assert len(self.store) == self.store.memory_bytes == self.store.disk_bytes == 0
        self.cleanup.close()

    @rule(number=st.integers(0, 7), logits=st.booleans(), whole=st.booleans())
    def put(self, number: int, logits: bool, whole: bool) -> None:
        given = segment(number, [0, 10, 500, KB, KB, KB, 2 * KB, 5 * KB][number], logits=logits)
        given = replace(given, whole=whole)
        address = self.store.put(given)
        assert address == given.address
        if address not in self.expected or address in self.lost or given.logits is not None:
            self.expected[address] = given
        self.references[address] += 1
        self.lost.discard(address)

    @precondition(lambda self: self.references)
    @rule(data=st.data())
    def get(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(self.known))
        got = self.store.get(address)
        assert contents(got) == (None if address in self.lost else contents(self.expected[address]))

    @precondition(lambda self: self.references)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(self.known))
        self.store.release(address)
        self.references[address] -= 1
        if not self.references[address]:
            del self.references[address], self.expected[address]
            self.lost.discard(address)

    @precondition(lambda self: self.references)
    @rule(data=st.data())
    def spill(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(self.known))
        place = self.store.place(address)
        self.store.spill(address)
        if place == "memory" and not self.is_pinned(address):
            assert self.store.place(address) == "disk"
        else:
            assert self.store.place(address) == place

    @precondition(lambda self: self.references)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(self.known))
        if self.store.place(address) == "disk":
            (file,) = self.folder.rglob(f"{address}*")
            file.unlink()
            assert self.store.get(address) is None
            self.lost.add(address)

    @precondition(lambda self: self.references)
    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        addresses = data.draw(st.frozensets(st.sampled_from(self.known), max_size=3))
        stack = ExitStack()
        stack.enter_context(self.store.pinned(addresses))
        self.pins.append((stack, addresses))

    @precondition(lambda self: self.pins)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        stack, _ = self.pins.pop(data.draw(st.integers(0, len(self.pins) - 1)))
        stack.close()

    def is_pinned(self, address: str) -> bool:
        return any(address in addresses for _, addresses in self.pins)

    @invariant()
    def books_are_right(self) -> None:
        store = self.store
        assert len(store) == len(self.references)
        assert all(address in store for address in self.references)
        places = {address: store.place(address) for address in self.references}
        assert {a for a, place in places.items() if place == "lost"} == self.lost
        assert all((store.why_lost(a) is None) == (a not in self.lost) for a in places)
        sizes = {a: 0 if a in self.lost else self.expected[a].n_bytes for a in places}
        assert {a: store.bytes_of(a) for a in places} == sizes
        in_memory = [a for a, place in places.items() if place == "memory"]
        assert store.memory_bytes == sum(sizes[a] for a in in_memory)
        unpinned = [sizes[a] for a in in_memory if not self.is_pinned(a)]
        assert store.memory_bytes <= store.max_bytes or not any(unpinned)

    @invariant()
    def files_are_right(self) -> None:
        found = {path.name.partition(".")[0]: path.stat().st_size for path in files(self.folder)}
        assert found.keys() <= self.references.keys()
        assert {a for a in self.references if self.store.place(a) == "disk"} <= found.keys()
        assert self.store.disk_bytes <= sum(found.values())


@pytest.mark.slow
def test_it_does_what_a_dict_would_do() -> None:
    run_state_machine_as_test(
        Model, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )
