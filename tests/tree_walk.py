"""Random walks over a chat's tree, checked against a plain model after every step.

Rows outside the path are compared in every tenth step: reading all of them takes longer than the
step itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from mullama_nb.engine.context import Context
from mullama_nb.history.chat import Chat
from mullama_nb.history.message import message_parts
from mullama_nb.history.notes import Notes
from mullama_nb.history.options import recalled
from mullama_nb.history.tree import Checkpoint
from mullama_nb.state.layout import SequenceState

Step = Callable[["Walk"], None]

_ALL_ROWS_EVERY = 10  # steps


def notes_of(checkpoint: Checkpoint) -> Notes:
    return checkpoint.metadata


class Walk:
    """A chat, and beside it nothing but parents, tokens and the bytes of rows.

    Parameters
    ----------
    chat : Chat
        With a model whose rows can be cut.
    seed : int
    **options
        Of every answer, such as ``reasoning_budget``.
    """

    def __init__(self, chat: Chat, seed: int, **options: Any) -> None:
        self.chat = chat
        self.options = options
        self.random = random.Random(seed)
        self.rows: dict[str, bytes] = {}
        self.paths: dict[str, tuple[int, ...]] = {}
        self.twin = Context(chat.model, chat.context.params)
        self.done: list[str] = []
        for checkpoint in chat.tree:
            self._remember(checkpoint)

    # -- steps -------------------------------------------------------------------------------

    def step(self) -> str:
        """Do something at random that is possible here, and check everything."""
        names = [name for name in STEPS for _ in range(STEPS[name])]
        while True:
            name = self.random.choice(names)
            if getattr(self, "_" + name)():
                break
        self.done.append(name)
        self.check(all_rows=len(self.done) % _ALL_ROWS_EVERY == 0)
        return name

    def _some_checkpoint(self) -> Checkpoint:
        tree = self.chat.tree
        return self.random.choice([tree.root, *tree])

    def _n(self) -> int:
        return self.random.randint(1, 6)

    def _has_room(self, n_tokens: int = 60) -> bool:
        context = self.chat.context
        return context.n_ctx - context.token_count() > n_tokens

    def _ask(self) -> bool:
        if not self._has_room():
            return False
        words = self.random.choices(["why", "how", "cat", "tree", "été", "<|im_end|>"], k=3)
        self.chat.ask(" ".join(words), max_tokens=self._n(), temperature=1.0, **self.options)
        return True

    def _undo(self) -> bool:
        self.chat.tree.undo(self.random.randint(1, 3))
        return True

    def _redo(self) -> bool:
        self.chat.tree.redo(self.random.randint(1, 3))
        return True

    def _undo_turn(self) -> bool:
        self.chat.undo()
        return True

    def _redo_turn(self) -> bool:
        self.chat.redo()
        return True

    def _checkout(self) -> bool:
        self.chat.tree.checkout(self._some_checkpoint())
        return True

    def _fork(self) -> bool:
        checkpoint = self._some_checkpoint()
        if not checkpoint.tokens or not self._has_room():
            return False
        token = self.random.randrange(len(checkpoint.tokens))
        choose = self.random.choice([None, None, 300])
        self.chat.tree.fork(checkpoint, token=token, choose=choose)
        return True

    def _turn(self, role: str) -> bool:
        return any(turn.role == role for turn in self.chat.turns)

    def _regenerate(self) -> bool:
        if not self._turn("assistant") or not self._has_room():
            return False
        self.chat.regenerate(max_tokens=self._n(), temperature=1.0, **self.options)
        return True

    def _resume(self) -> bool:
        head = self.chat.head
        is_answer = head.metadata.is_answer and head.metadata.is_generated
        if not (is_answer and head.is_unfinished and self._has_room()):
            return False
        turn = self.chat.resume(max_tokens=self._n(), temperature=1.0, **self.options)
        self._check_pieces(turn.checkpoint)
        return True

    def _edit(self) -> bool:
        if not self._turn("user") or not self._has_room():
            return False
        self.chat.edit("other " + str(self.random.random()), max_tokens=self._n(), **self.options)
        return True

    def _explore(self) -> bool:
        if not self._has_room(200):
            return False
        answers = self.chat.explore("which?", n=3, max_tokens=4, temperature=1.0, **self.options)
        if self.random.random() < 0.5:
            answers[1].keep()
        return True

    def _prune(self) -> bool:
        checkpoint = self._some_checkpoint()
        if checkpoint.is_root or len(self.chat.tree) < 8:
            return False
        self.chat.tree.prune(checkpoint, force=True)
        return True

    def _spill(self) -> bool:
        self.chat.tree.spill(self._some_checkpoint())
        return True

    def _append_directly(self) -> bool:
        if not self._has_room():
            return False
        self.chat.context.evaluate([self.random.randrange(20, 250) for _ in range(self._n())])
        if self.random.random() < 0.5:
            self.chat.tree.commit()
        return True

    def _rewind_directly(self) -> bool:
        n = self.chat.context.token_count()
        self.chat.context.rewind(self.random.randint(0, n))
        return True

    def _load_directly(self) -> bool:
        with Context(self.chat.model, self.chat.context.params) as other:
            other.evaluate([self.random.randrange(20, 250) for _ in range(8)])
            self.chat.context.restore(other.capture())
        return True

    # -- checks ------------------------------------------------------------------------------

    def check(self, *, all_rows: bool = True) -> None:
        """What must hold after every step."""
        chat = self.chat
        head = chat.tree.head
        path = chat.tree.tokens(head)
        n = len(path)
        assert chat.context.tokens[:n] == path
        assert chat.context.token_count() - n == chat.tree.uncommitted
        if n:
            self._check_rows(head)
        self._check_nothing_changed(all_rows=all_rows)
        if n and not chat.tree.uncommitted:
            self._check_logits(head)

    def _check_rows(self, head: Checkpoint) -> None:
        structure, _ = self.chat.context.layout
        live = SequenceState(self.chat.context.capture(0).data, structure)
        for checkpoint in self.chat.tree.path(head):
            if checkpoint.tokens:
                segment = self.chat.tree.segment(checkpoint)
                assert segment is not None
                mine = live.slice(checkpoint.start, checkpoint.stop)
                assert np.array_equal(mine[8:], segment.data[8:]), f"rows of {checkpoint!r} differ"

    def _check_nothing_changed(self, *, all_rows: bool) -> None:
        """What was committed has the same tokens and rows, however it was cut since."""
        structure, _ = self.chat.context.layout
        for checkpoint in self.chat.tree:
            tokens = self.chat.tree.tokens(checkpoint)
            assert tokens == self.paths.get(checkpoint.id, tokens)
            if checkpoint.id not in self.paths:
                self._remember(checkpoint)
            elif all_rows and checkpoint.tokens:
                segment = self.chat.tree.segment(checkpoint)
                assert segment is not None
                old = SequenceState(np.frombuffer(self.rows[checkpoint.id], np.uint8), structure)
                kept = old.slice(checkpoint.start, checkpoint.stop)
                assert np.array_equal(kept[8:], segment.data[8:])

    def _check_logits(self, head: Checkpoint) -> None:
        """The same bits as a fresh context that was restored along the same path."""
        segments = [self.chat.tree.segment(c) for c in self.chat.tree.path(head) if c.tokens]
        self.twin.clear()
        self.twin.restore([segment for segment in segments if segment is not None])
        assert np.array_equal(self.twin.logits, self.chat.context.logits)

    def _check_pieces(self, end: Checkpoint) -> None:
        """An answer in pieces is the answer that was not interrupted."""
        parts = message_parts(end)
        ways = [(notes.sampling, notes.sibling, notes.explored) for notes in map(notes_of, parts)]
        question = parts[0].parent
        assert question is not None
        if ways[0] != (ways[0][0], ways[0][1], None) or ways.count(ways[0]) < len(ways):
            return
        made_with = [part.metadata.adapters for part in parts]
        if made_with.count(made_with[0]) < len(parts):
            return
        segments = [self.chat.tree.segment(c) for c in self.chat.tree.path(question) if c.tokens]
        self.twin.clear()
        self.twin.adapters = self.twin.known_adapters.of(made_with[0])
        self.twin.restore([segment for segment in segments if segment is not None])
        tokens = [token for part in parts for token in part.tokens]
        sampling = recalled(parts[0].metadata.sampling)
        said = self.twin.generate(
            *(None, len(tokens)),
            sampling=sampling,
            sibling=ways[0][1],
            reasoning_budget=self.options.get("reasoning_budget"),
        )
        assert [token.id for token in said.tokens] == tokens
        states = [state for part in parts for state in part.metadata.sampler_states]
        assert [list(state) for state in said.sampler_states] == states

    def _remember(self, checkpoint: Checkpoint) -> None:
        """Keep what a new checkpoint has; one that is cut later has the end of that."""
        self.paths[checkpoint.id] = self.chat.tree.tokens(checkpoint)
        if checkpoint.tokens:
            segment = self.chat.tree.segment(checkpoint)
            assert segment is not None
            self.rows[checkpoint.id] = segment.data.tobytes()


STEPS = {
    "ask": 4,
    "undo": 2,
    "redo": 2,
    "undo_turn": 1,
    "redo_turn": 1,
    "checkout": 3,
    "fork": 2,
    "regenerate": 2,
    "resume": 3,
    "edit": 1,
    "explore": 1,
    "prune": 1,
    "spill": 2,
    "append_directly": 1,
    "rewind_directly": 1,
    "load_directly": 1,
}
