"""The cell map is what the tree says, whatever was done, and a view can follow it by messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cell_receiver import Receiver
from tiny_models import CHATML, make_model
from tree_walk import Walk

from mullama_nb import Chat, CheckpointTree, Context, ContextParams, Model
from mullama_nb.history.cells import CellMap, LiveCells, cell_map
from mullama_nb.history.events import Event
from mullama_nb.history.tree import Checkpoint

# -- a plain model --------------------------------------------------------------------------------


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
        self.events: list[Event] = []
        self.tree.on_change(self.events.append)
        self.live = LiveCells(source)
        self.receiver = Receiver()
        self.receiver.receive(self.live.message())

    def catch_up(self) -> dict[str, Any] | None:
        assert self.tree.flush(10)
        events, self.events[:] = self.events[:], []
        message = self.live.update(events)
        if message is not None:
            assert not message["whole"]
            self.receiver.receive(message)
        return message

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
        assert self.live.update([]) is None
        if not self.tree.uncommitted:
            assert shown_strips(fresh) == plain_strips(self.tree)
            path = self.tree.tokens()
            assert tuple(cell.token for cell in fresh.active) == path
            assert [cell.position for cell in fresh.active] == list(range(len(path)))
        assert fresh.n_used == self.tree.context.token_count()


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_a_random_walk_is_followed(tmp_path: Path, seed: int) -> None:
    model = Model.load(make_model(tmp_path / "m.gguf", "llama", chat_template=CHATML))
    context = Context(model, ContextParams(n_ctx=1024, n_threads=1, n_parallel=4))
    chat = Chat(context, "Be brief.", seed=seed, max_bytes=200_000)
    walk, follower = Walk(chat, seed), Follower(chat)
    for _ in range(120):
        walk.step()
        follower.check()
