"""A view that follows a cell map by messages, and a plain model of what it has to show."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from cell_receiver import Receiver

from mullama_nb import Chat, CheckpointTree
from mullama_nb.history.cell_map.live import CellMap, LiveCells, cell_map
from mullama_nb.history.events import Event
from mullama_nb.history.tree import Checkpoint


def plain_strips(tree: CheckpointTree) -> list[dict[str, Any]]:
    """The strips of a tree by the definition, without roles: each checkpoint is looked at."""
    strips: list[dict[str, Any]] = []
    active = {c.id for c in tree.path()}
    n_lanes = 0

    def add(first: Checkpoint, parent: int | None, lane: int | None) -> None:
        nonlocal n_lanes
        if lane is None:
            lane, n_lanes = n_lanes, n_lanes + 1
        checkpoints = [first]
        while len(checkpoints[-1].children) == 1:
            checkpoints += checkpoints[-1].children
        index = len(strips)
        strip = {
            "id": first.id,
            "parent": parent,
            "start": first.start,
            "lane": lane,
            "tokens": [t for c in checkpoints for t in c.tokens],
            "checkpoints": [(c.id, c.stop) for c in checkpoints],
            "n_active": sum(len(c.tokens) for c in checkpoints if c.id in active),
            "places": [p for c in checkpoints for p in [place(c, active)] * len(c.tokens)],
            "n_bytes": [c.n_bytes for c in checkpoints],
            "probabilities": [p for c in checkpoints for p in probabilities(c)],
        }
        strips.append(strip)
        for n, child in enumerate(checkpoints[-1].children):
            add(child, index, lane if n == 0 else None)

    for child in tree.root.children:
        add(child, None, None)
    return strips


def place(checkpoint: Checkpoint, active: set[str]) -> str:
    if checkpoint.id in active:
        return "context"
    return "dropped" if checkpoint.place == "lost" else checkpoint.place


def probabilities(checkpoint: Checkpoint) -> list[float | None]:
    if not checkpoint.logprobs:
        return [None] * len(checkpoint.tokens)
    return [float(np.exp(np.float32(logprob))) for logprob in checkpoint.logprobs]


def shown_strips(cells: CellMap) -> list[dict[str, Any]]:
    """A map in the shape of the plain model."""
    return [
        {
            "id": strip.id,
            "parent": strip.parent,
            "start": strip.start,
            "lane": strip.lane,
            "tokens": list(strip.tokens),
            "checkpoints": list(strip.checkpoints),
            "n_active": strip.n_active,
            "places": [cell.place for cell in strip.cells],
            "n_bytes": list(strip.checkpoint_bytes),
            "probabilities": list(strip.probabilities),
        }
        for strip in cells.strips
    ]


def received_strips(receiver: Receiver) -> list[dict[str, Any]]:
    """What was received in the shape of a map's strips."""
    order = receiver.in_order()
    index = {strip["number"]: i for i, strip in enumerate(order)}
    return [{**strip, "number": None, "parent": index.get(strip["parent"])} for strip in order]


def told_strips(cells: CellMap) -> list[dict[str, Any]]:
    """A map in the shape in which it is received."""
    return [
        {
            "number": None,
            "id": strip.id,
            "parent": strip.parent,
            "start": strip.start,
            "lane": strip.lane,
            "n_active": strip.n_active,
            "tokens": [(cell.token, cell.text, cell.probability) for cell in strip.cells],
            "roles": [cell.role for cell in strip.cells],
            "places": [cell.place for cell in strip.cells],
            "again": list(strip.again),
            "checkpoints": [
                (name, stop, n_bytes)
                for (name, stop), n_bytes in zip(
                    strip.checkpoints, strip.checkpoint_bytes, strict=True
                )
            ],
        }
        for strip in cells.strips
    ]


class Follower:
    """A view of a tree: it hears events, updates its map and sends the changes on."""

    def __init__(self, source: Chat | CheckpointTree) -> None:
        self.source = source
        self.tree = source.tree if isinstance(source, Chat) else source
        self.events: deque[Event] = deque()
        self.tree.on_change(self.events.append)
        self.live = LiveCells(source)
        self.latest: dict[str, Any] | None = None
        self.receiver = Receiver()
        self.receiver.receive(self.live.message())

    def take(self) -> list[Event]:
        """What was told since the last time."""
        return [self.events.popleft() for _ in range(len(self.events))]

    def catch_up(self, *, waits: bool = True) -> dict[str, Any] | None:
        assert not waits or self.tree.flush()
        message = self.live.update(self.take())
        if message is not None:
            assert not message["whole"]
            self.receiver.receive(message)
            self.latest = message
        return message

    def check_sent(self) -> None:
        """What was received is what is followed."""
        self.catch_up()
        assert received_strips(self.receiver) == told_strips(self.live.map())

    def check(self) -> None:
        """What follows from changes is what a fresh look gives, on both sides."""
        self.tree.head  # noqa: B018 - follows what was done to the context directly
        self.catch_up()
        fresh, followed = cell_map(self.source), self.live.map()
        assert followed == fresh
        assert received_strips(self.receiver) == told_strips(fresh)
        late = Receiver()
        late.receive(self.live.message())
        assert received_strips(late) == told_strips(fresh)
        if self.latest is not None:  # a view may come between a change and its sending
            late.receive(self.latest)
            assert received_strips(late) == told_strips(fresh)
        assert self.live.update([]) is None
        if not self.tree.uncommitted:
            assert shown_strips(fresh) == plain_strips(self.tree)
            path = self.tree.tokens()
            assert tuple(cell.token for cell in fresh.active) == path
            assert [cell.position for cell in fresh.active] == list(range(len(path)))
        assert fresh.n_used == self.tree.context.token_count()
