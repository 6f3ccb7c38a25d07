from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from state.segments import KB, segment

from mullama_nb.state import ledger as ledger_module
from mullama_nb.state.ledger import Ledger, Record, Sums
from mullama_nb.state.store import SegmentStore

SEGMENTS = {name: segment(i, 100 * (i + 1)) for i, name in enumerate("abcd")}

names, n_bytes = st.sampled_from("abcd"), st.integers(0, 9)
changes = st.one_of(
    st.tuples(st.just("note"), names, n_bytes, n_bytes, st.booleans()),
    st.tuples(st.just("forget"), names),
    st.tuples(st.just("clear")),
    st.tuples(st.just("ask")),
)


def change(ledger: Ledger, kind: str, *values: Any) -> None:
    if kind == "note":
        name, n_bytes, file_bytes, in_memory = values
        ledger.note(name, Record(1, n_bytes, file_bytes), SEGMENTS[name] if in_memory else None)
    elif kind == "forget" and values[0] in ledger.records:
        ledger.forget(values[0])
    elif kind == "clear":
        ledger.clear()
    elif kind == "ask":
        assert ledger.sums == recounted(ledger)


def recounted(ledger: Ledger) -> Sums:
    assert ledger.memory.keys() <= ledger.records.keys()
    memory = sum(ledger.records[address].n_bytes for address in ledger.memory)
    return Sums(memory, sum(record.file_bytes for record in ledger.records.values()))


def interrupted_after(n: int, job: Callable[[], None]) -> bool:
    """Run a job with an interrupt before its ``n``-th instruction within the ledger."""
    left = n

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != ledger_module.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        job()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@given(st.lists(changes, max_size=20))
def test_sums_are_what_a_recount_gives(done: list[tuple[Any, ...]]) -> None:
    ledger = Ledger()
    for each in done:
        change(ledger, *each)
        assert ledger.sums == recounted(ledger)


@given(st.lists(changes, min_size=1, max_size=8), st.lists(changes, max_size=4), st.data())
def test_sums_survive_an_interrupt_between_any_two_instructions(
    done: list[tuple[Any, ...]], later: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    ledger = Ledger()
    for each in done[:-1]:
        change(ledger, *each)
    interrupted_after(data.draw(st.integers(0, 200)), lambda: change(ledger, *done[-1]))
    for each in later:
        change(ledger, *each)
    assert ledger.sums == recounted(ledger)


def test_every_instruction_of_a_change_may_be_the_last() -> None:
    for each in (
        ("note", "a", 5, 7, True),
        ("note", "b", 3, 0, False),
        ("forget", "b"),
        ("clear",),
    ):
        n = 0
        while True:
            ledger = Ledger()
            change(ledger, "note", "a", 1, 2, True)
            change(ledger, "note", "b", 4, 8, True)
            if not interrupted_after(n, lambda ledger=ledger, each=each: change(ledger, *each)):
                break
            assert ledger.sums == recounted(ledger)
            n += 1
        assert n > 10


class Counting(dict[str, Record]):
    """Counts how often somebody looks at a record."""

    looks = 0

    def __getitem__(self, key: str) -> Record:
        self.looks += 1
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.looks += 1
        return super().get(key, default)

    def values(self) -> Any:
        self.looks += len(self)
        return super().values()


@pytest.mark.parametrize("share", [1, 2], ids=["all in memory", "half in files"])
def test_put_get_and_release_cost_the_same_among_many(tmp_path: Path, share: int) -> None:
    looks = []
    for n in (10, 300):
        store = SegmentStore(n // share * KB, tmp_path)
        records = store._ledger.records = Counting()
        addresses = [store.put(segment(i)) for i in range(n)]
        records.looks = 0
        assert store.get(addresses[-1]) is not None
        assert store.get(addresses[0]) is not None
        store.release(store.put(segment(n)))
        store.release(store.put(segment(5)))
        assert store.memory_bytes <= store.max_bytes
        assert store.disk_bytes >= 0
        looks.append(records.looks)
        store.close()
    assert looks[0] == looks[1]


def test_what_is_pinned_beyond_the_budget_is_not_searched_at_each_get(tmp_path: Path) -> None:
    passed = []
    for n in (10, 300):
        store = SegmentStore(0, tmp_path)
        addresses = [store.put(segment(i)) for i in range(n)]
        asked: list[str] = []
        is_pinned = store._is_pinned

        def counted(address: str, asked: list[str] = asked, ask: Any = is_pinned) -> bool:
            asked.append(address)
            return bool(ask(address))

        store._is_pinned = counted  # type: ignore[method-assign]
        with store.pinned(addresses):
            for address in addresses:
                assert store.get(address) is not None
            passed.append(len(asked) / n)
            assert store.memory_bytes == n * KB
        assert store.memory_bytes == 0
        store.close()
    assert passed[1] <= passed[0]
