"""States of a path: whole, to go on from, and what was kept to go back where nothing can be cut."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..state.layout import ByteArray
from .adapters.loaded import AdapterRuns
from .decoder import Logits
from .memory import Snapshot

__all__ = ["PathState", "ReplayLog"]

_MOST_SNAPSHOTS = 32


@dataclass(frozen=True, eq=False)
class PathState:
    """A whole path, as it is copied, saved and loaded.

    Attributes
    ----------
    tokens : tuple of int
    data : ndarray of uint8
        llama.cpp's sequence state.
    logits : ndarray of float32, optional
        Of the next token.
    floor : int
        Below this position a sliding window has no rows to go back to.
    adapters : AdapterRuns
        What the tokens were evaluated with, and what is on.
    """

    tokens: tuple[int, ...]
    data: ByteArray
    logits: Logits | None
    floor: int = 0
    adapters: AdapterRuns = field(default_factory=AdapterRuns)


@dataclass(frozen=True)
class ReplayLog:
    """How a path came about, as far as going back on it takes.

    Attributes
    ----------
    snapshots : tuple of Snapshot
        States at the ends of evaluations, the earliest first.
    batches : tuple of (int, int)
        First token and end of what was evaluated together, so that the same computation can be
        repeated; all other tokens were evaluated one by one.
    origin : int
        Tokens that came as a state: how they were evaluated is not known.
    """

    snapshots: tuple[Snapshot, ...] = ()
    batches: tuple[tuple[int, int], ...] = ()
    origin: int = 0

    @property
    def last(self) -> Snapshot | None:
        """The latest snapshot."""
        return self.snapshots[-1] if self.snapshots else None

    def reaches(self, n_tokens: int) -> bool:
        """Return whether all steps to there from a snapshot, or the beginning, are known."""
        kept = max((s.n_tokens for s in self.snapshots if s.n_tokens <= n_tokens), default=0)
        return kept >= min(n_tokens, self.origin)

    def steps(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Return the batches to evaluate from one number of tokens to another."""
        while start < stop:
            end = next((min(b, stop) for a, b in self.batches if a <= start < b), start + 1)
            yield start, end
            start = end

    def with_batch(self, start: int, stop: int) -> ReplayLog:
        """Return the log after an evaluation of several tokens."""
        return dataclasses.replace(self, batches=(*self.batches, (start, stop)))

    def with_snapshot(self, snapshot: Snapshot) -> ReplayLog:
        """Return the log with one more state."""
        kept = (*self.snapshots, snapshot)[-_MOST_SNAPSHOTS:]
        return dataclasses.replace(self, snapshots=kept)

    def restarted(self) -> ReplayLog:
        """Return the log at the start of a replay: at the last snapshot, or at the beginning."""
        start = 0 if self.last is None else self.last.n_tokens
        batches = tuple(b for b in self.batches if b[1] <= start)
        return dataclasses.replace(self, batches=batches, origin=min(self.origin, start))

    def up_to(self, n_tokens: int) -> ReplayLog:
        """Return the log of the first tokens."""
        return ReplayLog(
            tuple(s for s in self.snapshots if s.n_tokens <= n_tokens),
            tuple(b for b in self.batches if b[0] < n_tokens),
            min(self.origin, n_tokens),
        )
