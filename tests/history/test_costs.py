"""What a move says that it cost is what llama.cpp decoded, and what the segments hold."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from conftest import ModelMaker
from tiny_models import CHATML

from mullama_nb import Chat, CheckpointTree, Context, ContextParams
from mullama_nb.errors import InexactWarning
from mullama_nb.history.events import Event, Moved
from mullama_nb.history.graph import common_ancestor
from mullama_nb.history.tree import Checkpoint


class Counter:
    """Tokens that llama.cpp was given to decode."""

    n_tokens = 0


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter:
    counter, decode = Counter(), llama_cpp.llama_decode

    def count(handle: Any, batch: Any) -> int:
        counter.n_tokens += batch.n_tokens
        status: int = decode(handle, batch)
        return status

    monkeypatch.setattr(llama_cpp, "llama_decode", count)
    return counter


class Mover:
    """Moves in a tree at random, and adds up what is told of each."""

    def __init__(self, chat: Chat, seed: int, counter: Counter) -> None:
        self.tree: CheckpointTree = chat.tree
        self.random = random.Random(seed)
        self.counter = counter
        self.heard: list[Moved] = []
        self.tree.on_change(self._hear)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Moved):
            self.heard.append(event)

    def expected(self, target: Checkpoint) -> tuple[int, int]:
        """Tokens to evaluate and bytes to put back, on the way from the head."""
        head = self.tree.head
        if target is head:
            return 0, 0
        common = common_ancestor(head, target)
        ahead = [c for c in self.tree.path(target) if c not in set(common.lineage())]
        if not self.tree.keeps_snapshots:
            lost = [c for c in ahead if c.place == "lost"]
            return (
                sum(len(c.tokens) for c in lost),
                sum(c.n_bytes for c in ahead if c.place != "lost"),
            )
        n = 0
        for at in target.lineage():
            if at.address is not None and at.place != "lost":
                return n, at.n_bytes
            n += len(at.tokens)
        return n, 0

    def go(self) -> None:
        tree = self.tree
        target = self.random.choice([tree.root, *tree])
        wanted = self.expected(target)
        before = self.counter.n_tokens
        self.heard.clear()
        tree.checkout(target)
        assert tree.flush()
        told = (
            sum(event.n_evaluated for event in self.heard),
            sum(event.bytes_restored for event in self.heard),
        )
        assert told[0] == self.counter.n_tokens - before
        assert told == wanted
        assert all(event.seconds >= 0 for event in self.heard)
        if self.heard:
            assert self.heard[-1].head == target.id


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "gemma3", "mamba", "lfm2"])
@pytest.mark.parametrize("keeps", ["in memory", "on disk", "lost"])
def test_each_move_says_what_it_cost(
    tiny: ModelMaker,
    decoded: Counter,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
    keeps: str,
) -> None:
    if keeps == "lost":
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    model = tiny(kind, chat_template=CHATML)
    context = Context(model, ContextParams(n_ctx=256, n_threads=1, n_threads_batch=1))
    chat = Chat(context, seed=1, max_bytes=None if keeps == "in memory" else 30_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InexactWarning)
        for question in ("one?", "two?"):
            chat.ask(question, max_tokens=3)
            chat.regenerate(max_tokens=2)
            chat.undo()
            chat.ask("other " + question, max_tokens=3)
        mover = Mover(chat, 3, decoded)
        for _ in range(40):
            mover.go()
    if keeps == "lost":
        assert decoded.n_tokens > 200


def test_undo_and_redo_evaluate_nothing(tiny: ModelMaker, decoded: Counter) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=256, n_threads=1, seed=1)
    chat.ask("one?", max_tokens=3)
    sizes = [checkpoint.n_bytes for checkpoint in chat.tree.path()]
    heard: list[Event] = []
    chat.tree.on_change(heard.append)
    before = decoded.n_tokens
    chat.undo()
    chat.redo()
    assert chat.tree.flush()
    back, forth = heard
    root, end = chat.tree.root.id, chat.head.id
    assert (back, forth) == (Moved(root, end), Moved(end, root, 0, sum(sizes)))
    assert decoded.n_tokens == before
