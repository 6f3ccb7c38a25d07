"""What a path that cannot be cut remembers leads back over the same steps."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.engine.memory import Snapshot
from mullama_nb.engine.path_state import ReplayLog

Action = tuple[str, int]
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["evaluate", "append", "snapshot", "back"]), st.integers(0, 40)),
    max_size=40,
)


class Walk:
    """A log, and beside it every evaluation as it was done."""

    def __init__(self) -> None:
        self.log = ReplayLog()
        self.done: list[tuple[int, int]] = []

    @property
    def n_tokens(self) -> int:
        return self.done[-1][1] if self.done else 0

    def evaluate(self, n: int) -> None:
        start = self.n_tokens
        self.done.append((start, start + n))
        if n > 1:
            self.log = self.log.with_batch(start, start + n)

    def snapshot(self) -> None:
        last = self.log.last
        if self.n_tokens and (last is None or last.n_tokens < self.n_tokens):
            empty = Snapshot(self.n_tokens, np.empty(0, np.uint8), np.empty(0, np.float32))
            self.log = self.log.with_snapshot(empty)

    def back(self, n_tokens: int) -> None:
        """As a path does it: to the nearest snapshot, and from there again."""
        log = self.log.up_to(n_tokens)
        self.log = log.restarted()
        start = 0 if log.last is None else log.last.n_tokens
        for a, b in log.steps(start, n_tokens):
            if b - a > 1:
                self.log = self.log.with_batch(a, b)
        self.done = [(a, min(b, n_tokens)) for a, b in self.done if a < n_tokens]
        self.snapshot()


@given(ACTIONS)
def test_every_way_back_repeats_what_was_done(actions: list[Action]) -> None:
    walk = Walk()
    for name, n in actions:
        if name == "evaluate" and n:
            walk.evaluate(n)
        elif name == "append":
            walk.evaluate(1)
        elif name == "snapshot":
            walk.snapshot()
        elif name == "back":
            walk.back(min(n, walk.n_tokens))
        assert list(walk.log.steps(0, walk.n_tokens)) == walk.done
        assert all(s.n_tokens <= walk.n_tokens for s in walk.log.snapshots)
        for n_tokens in range(walk.n_tokens + 1):
            assert walk.log.reaches(n_tokens)


@given(ACTIONS)
def test_a_log_is_a_value(actions: list[Action]) -> None:
    """What was put aside is the same whatever happens to the path afterwards."""
    walk = Walk()
    walk.evaluate(7)
    walk.snapshot()
    kept = walk.log
    for name, n in actions:
        if name == "back":
            walk.back(min(n, walk.n_tokens))
        else:
            walk.evaluate(n + 1)
            walk.snapshot()
    assert ([s.n_tokens for s in kept.snapshots], kept.batches) == ([7], ((0, 7),))


def test_what_came_as_a_state_cannot_be_repeated() -> None:
    log = ReplayLog(origin=10)
    assert not log.reaches(5)
    assert not log.reaches(12)
    assert log.reaches(0)
    log = log.with_snapshot(Snapshot(10, np.empty(0, np.uint8), np.empty(0, np.float32)))
    assert log.reaches(12)
    assert not log.reaches(9)
