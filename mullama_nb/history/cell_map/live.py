"""Which token lies in which cell of a context, followed as a tree changes.

``cell_map`` takes the whole picture. ``LiveCells`` keeps it and works out again only what events
say has changed, for views that follow a conversation; what they are sent is described in
``history/cell_map/message.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from ...errors import ContextClosedError
from ..events import Committed, Event, Moved, Pruned, Recalled, Spilled, Split, TokenAdded
from ..node import Node
from ..workspace import Workspace
from .contents import Contents
from .message import Packed, Tables, pack
from .strips import Cell, CellMap, Strip
from .tracks import Growth, Track, Tracks

__all__ = ["Cell", "CellMap", "LiveCells", "Strip", "cell_map"]


class Source(Protocol):
    """A ``Chat`` or a ``CheckpointTree``."""

    @property
    def _workspace(self) -> Workspace[Any]: ...


def cell_map(source: Source) -> CellMap:
    """Return which token lies in which cell, what branches share, and what is kept outside.

    Parameters
    ----------
    source : Chat or CheckpointTree
    """
    return LiveCells(source).map()


class LiveCells:
    """The cell map of a tree that changes; it may be used from any thread.

    Parameters
    ----------
    source : Chat or CheckpointTree
    """

    def __init__(self, source: Source) -> None:
        self._workspace = source._workspace
        self._lock = threading.Lock()
        self.restart()

    def restart(self) -> None:
        """Look at everything anew, as after events that were missed; send a whole message then."""
        with self._lock:
            _ = self._workspace.head  # follows what was done to the context directly
            self._tracks = Tracks(self._workspace.graph)
            self._contents = Contents(self._workspace, self._tracks)
            self._said: list[tuple[int, float]] = []  # generated since the head moved
            self._order: list[Track] = []
            self._tables = Tables()
            self._sent: dict[int, Packed] = {}
            self._sent_order = self._order
            self._sent_lanes: dict[int, int] = {}
            self._sent_facts: dict[str, Any] = {}
            self._tracks.derive(self._grow_head([]))
            self._message(self._follow({*self._tracks.by_number}, ()), is_whole=True)

    # -- look --------------------------------------------------------------------------------

    def map(self) -> CellMap:
        """Return the map as of the last update."""
        with self._lock:
            index = {track.number: i for i, track in enumerate(self._order)}
            strips = tuple(self._strip(track, index) for track in self._order)
            return CellMap(**self._sent_facts, strips=strips)

    def message(self) -> dict[str, Any]:
        """Return the map as of the last update for another process, whatever that has."""
        with self._lock:
            packed = [self._sent[track.number] for track in self._order]
            for each in packed:
                each.n_kept = each.n_checkpoints_kept = 0
            lanes = [*self._sent_lanes.items()]
            return pack(
                *(self._sent_facts, packed, lanes, self._contents.text),
                tables=self._tables,
                is_whole=True,
            )

    def update(self, events: Sequence[Event]) -> dict[str, Any] | None:
        """Take in what happened since the last update.

        Parameters
        ----------
        events : sequence of Event
            All since then, in order.

        Returns
        -------
        dict or None
            What has changed, for another process that has all up to then; None for nothing.
        """
        with self._lock:
            walked = self._heed(events)
            rows = [e.checkpoint for e in events if isinstance(e, Spilled | Recalled)]
            return self._message(self._follow(walked, rows), is_whole=False)

    # -- events ------------------------------------------------------------------------------

    def _heed(self, events: Sequence[Event]) -> set[int]:
        """Note what grew, and walk strips again where the tree changed; return which."""
        changed, gone = list[str](), list[str]()
        for event in events:
            match event:
                case Committed(checkpoint, parent, is_head):
                    changed += parent, checkpoint
                    gone += self._end_growths(is_head=is_head)
                case Split(checkpoint, first):
                    changed += checkpoint, first
                    gone += self._end_growths()
                case Pruned(checkpoints):
                    gone += checkpoints
                    gone += self._end_growths()
                case Moved():
                    gone += self._end_growths()
                case TokenAdded(token, _, logprob, None):
                    self._said.append((token, logprob))
                case TokenAdded(is_elsewhere=True):
                    pass  # it takes no cell here
                case TokenAdded(token, _, logprob, branch):
                    growth = self._growth(branch, changed)
                    growth.tokens.append(token)
                    growth.logprobs.append(logprob)
        changed += self._grow_head(gone)
        changed += self._tracks.forget(gone)
        return self._tracks.derive(changed)

    def _growth(self, branch: int | None, changed: list[str]) -> Growth:
        growths, head = self._tracks.growths, self._workspace.graph.head
        if branch not in growths:
            growths[branch] = Growth(head, branch)
            changed.append(head.id)
        return growths[branch]

    def _end_growths(self, *, is_head: bool = True) -> list[str]:
        """End what was explored, and what was generated if the head moved; return their ids."""
        growths = self._tracks.growths
        ended = [branch for branch in growths if branch is not None]
        if is_head:
            self._said.clear()
        return [growths.pop(branch).id for branch in ended]

    def _grow_head(self, gone: list[str]) -> list[str]:
        """Look at the tokens behind the head; return where strips have to be walked for them."""
        growths, head = self._tracks.growths, self._workspace.graph.head
        tokens, growth = self._uncommitted(head), growths.get(None)
        if growth is not None and (growth.at is not head or not tokens):
            gone.append(growths.pop(None).id)
        changed = list[str]()
        if tokens:
            growth = self._growth(None, changed)
            growth.tokens, growth.logprobs = [*tokens], self._logprobs(tokens)
        return changed

    def _uncommitted(self, head: Node) -> tuple[int, ...]:
        context = self._workspace.context
        try:
            if context.watermark < head.stop or self._workspace.away is not None:
                return ()  # changed directly, which the tree has not followed yet, or for a look
            return context.tokens[head.stop :]
        except ContextClosedError:
            return ()

    def _logprobs(self, tokens: Sequence[int]) -> list[float]:
        """Those of the tokens that were generated; the others have NaN."""
        found, said = [float("nan")] * len(tokens), self._said
        ids = tuple(token for token, _ in said)
        for first in range(len(tokens) - len(ids) + 1):
            if tokens[first : first + len(ids)] == ids:
                found[first : first + len(ids)] = [logprob for _, logprob in said]
                break
        return found

    def _follow(self, walked: set[int], rows: Iterable[str]) -> set[int]:
        """Take in what strips hold, what is active and where rows are.

        Parameters
        ----------
        walked : set of int
            Strips that were walked again.
        rows : iterable of str
            Checkpoints whose rows were moved.

        Returns
        -------
        set of int
            Strips that may have changed in any way.
        """
        tracks, contents = self._tracks, self._contents
        touched = walked & tracks.by_number.keys()
        for number in touched:
            contents.fill(tracks.by_number[number])
        for growth in tracks.growths.values():
            track = tracks.of(growth.id)
            if track is not None and track.number not in touched:
                contents.grow(track)
                touched.add(track.number)
        if walked or len(self._order) != len(tracks.by_number):
            self._order = tracks.lay_out()
            contents.forget_others()
        touched |= contents.activate()
        for identifier in rows:
            track = tracks.of(identifier)
            if track is not None:
                contents.look(track, [i for i, n in enumerate(track.nodes) if n.id == identifier])
                touched.add(track.number)
        return touched

    # -- say ---------------------------------------------------------------------------------

    def _message(self, touched: set[int], *, is_whole: bool) -> dict[str, Any] | None:
        """What differs from what was sent, which is all that there is afterwards."""
        lanes, gone, moved = self._sent_lanes, list[int](), list[tuple[int, int]]()
        changed, tracks = list[Packed](), self._tracks.by_number
        if self._sent_order is not self._order:
            lanes = {track.number: track.lane for track in self._order}
            moved = [pair for pair in lanes.items() if self._sent_lanes.get(pair[0]) != pair[1]]
            gone = [number for number in self._sent if number not in lanes]
            touched = touched | (lanes.keys() - self._sent.keys())
        for number in sorted(touched & lanes.keys()):  # others were pruned meanwhile
            packed = self._contents.packed(tracks[number])
            before = self._sent.get(number)
            if before is None or _compare(packed, before):
                self._sent[number] = packed
                changed.append(packed)
        for number in gone:
            del self._sent[number]
        facts = self._contents.facts
        is_new = bool(changed or gone or moved) or facts != self._sent_facts
        self._sent_order, self._sent_lanes, self._sent_facts = self._order, lanes, facts
        if not is_new:
            return None
        return pack(
            *(facts, changed, moved, self._contents.text),
            tables=self._tables,
            gone=gone,
            is_whole=is_whole,
        )

    def _strip(self, track: Track, index: dict[int, int]) -> Strip:
        packed = self._sent[track.number]
        tokens, probabilities = packed.tokens.tolist(), packed.probabilities.tolist()
        return Strip(
            packed.id,
            None if packed.parent is None else index.get(packed.parent),
            packed.start,
            tuple(tokens),
            tuple(packed.checkpoints),
            track.lane,
            packed.n_active,
            tuple(map(self._contents.text, tokens)),
            packed.roles,
            packed.places,
            tuple(None if p != p else p for p in probabilities),
            tuple(map(int, packed.checkpoint_bytes)),
            self._workspace.keeps_snapshots,
            packed.again,
        )


def _compare(packed: Packed, before: Packed) -> bool:
    """Note how much of a strip is as it was sent; return whether anything is not."""
    n = min(len(packed.tokens), len(before.tokens))
    differs = packed.tokens[:n] != before.tokens[:n]
    a, b = packed.probabilities[:n], before.probabilities[:n]
    differs |= (a != b) & ~(np.isnan(a) & np.isnan(b))
    n_kept = int(differs.argmax()) if differs.any() else n
    packed.n_kept = min(n_kept, _n_same_roles(packed, before))
    packed.n_checkpoints_kept = min(
        _n_same(packed.checkpoints, before.checkpoints),
        _n_same(packed.checkpoint_bytes, before.checkpoint_bytes),
    )
    is_same = (
        packed.n_kept == len(packed.tokens) == len(before.tokens)
        and packed.n_checkpoints_kept == len(packed.checkpoints) == len(before.checkpoints)
        and (packed.parent, packed.start, packed.n_active, packed.places, packed.again)
        == (before.parent, before.start, before.n_active, before.places, before.again)
    )
    return not is_same


def _n_same_roles(packed: Packed, before: Packed) -> int:
    """How many of the first tokens have the roles that they had."""
    n = _n_same(packed.roles, before.roles)
    same = packed.roles[n - 1][0] if n else 0
    if n == min(len(packed.roles), len(before.roles)):
        return same
    (stop, role), (stop_before, role_before) = packed.roles[n], before.roles[n]
    return min(stop, stop_before) if role == role_before else same


def _n_same(a: Sequence[object], b: Sequence[object]) -> int:
    """How many of the first values are equal; mostly all but the last."""
    n = min(len(a), len(b))
    if n and a[: n - 1] == b[: n - 1]:
        return n - (a[n - 1] != b[n - 1])
    return next((i for i in range(n) if a[i] != b[i]), n)
