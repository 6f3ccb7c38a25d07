"""Random conversations whose answers come from here or from elsewhere: they are the same trees."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from tiny_models import CHATML

from mullama_nb import Chat, Turn
from mullama_nb.history import exploring_elsewhere

from .executing import Pickling

_N_PARALLEL = 3
_STEPS = 8


class Pair:
    """Two chats: one explores here, the other elsewhere."""

    def __init__(self, here: Chat, there: Chat, pool: Pickling, seed: int) -> None:
        self.here, self.there, self.pool = here, there, pool
        self.random = random.Random(seed)

    def both(self, method: str, *values: Any, **options: Any) -> None:
        for chat in (self.here, self.there):
            getattr(chat, method)(*values, **options)

    def explore(self) -> None:
        question = None
        is_asked = self.here.head.metadata.is_message
        if not is_asked or self.random.random() < 0.5:
            question = "word " * self.random.choice([1, 30]) + str(self.random.randrange(9))
        n, exact = self.random.randint(1, 7), self.random.random() < 0.3
        options = {
            "max_tokens": self.random.randint(1, 6),
            "temperature": self.random.choice([0.0, 0.9, 2.0]),
            "mirostat": 0,
        }
        if options["temperature"] and self.random.random() < 0.3:
            options["mirostat"] = 2
        elsewhere = self.there.explore(question, n, exact=exact, executor=self.pool, **options)
        local: list[Turn] = []
        while len(local) < n:
            size = n if exact else min(_N_PARALLEL, n - len(local))
            local += self.here.explore(question, size, exact=exact, **options)
            question = None
        assert [a.id for a in elsewhere] == [a.id for a in local]
        if self.random.random() < 0.7:
            kept = self.random.randrange(n)
            elsewhere[kept].keep()
            local[kept].keep()

    def step(self) -> None:
        name = self.random.choice(["explore", "explore", "ask", "undo", "checkout", "regenerate"])
        nodes = [self.here.tree.root, *self.here.tree]
        if name == "explore" or self.here.head.is_root:
            self.explore()
        elif name == "checkout":
            self.both("checkout", self.random.choice(nodes).id)
        elif name == "undo":
            self.both("undo")
        elif name == "regenerate" and self.here.head.metadata.is_answer:
            self.both("regenerate", max_tokens=3, temperature=1.2)
        else:
            self.both("ask", f"and {self.random.randrange(9)}?", max_tokens=4, temperature=1.2)

    def check(self) -> None:
        trees = self.here.tree, self.there.tree
        assert [c.id for c in trees[0]] == [c.id for c in trees[1]]
        for mine, theirs in zip(*trees, strict=True):
            assert mine.tokens == theirs.tokens
            assert mine.metadata == theirs.metadata
            assert mine.logprobs == theirs.logprobs
            assert mine.address == theirs.address
        assert self.here.head.id == self.there.head.id
        if self.here.context.token_count():
            np.testing.assert_array_equal(self.here.context.logits, self.there.context.logits)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba", "lfm2"])
def test_the_same_trees_grow(
    tiny: ModelMaker,
    pool: Pickling,
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    seed: int,
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(exploring_elsewhere, "ships_rows", lambda *_: chance.random() < 0.5)
    model = tiny(architecture, chat_template=CHATML)
    options: dict[str, Any] = {"n_ctx": 1024, "n_threads": 1, "n_parallel": _N_PARALLEL}
    pair = Pair(Chat(model, **options), Chat(model, **options), pool, seed)
    for _ in range(_STEPS):
        pair.step()
        pair.check()
