"""Moving in a conversation's tree, and what it costs to keep it.

A conversation of 2,048 tokens in turns of 64. Undo, redo and the checkout of a sibling end when the
next token's logits could be asked for without evaluating a prompt; they take turns with

- ``Llama.load_state``, the way back that llama-cpp-python has, and
- ``llama_state_seq_set_data`` with the full state of the same conversation.

Exploring eight answers in one batch takes turns with eight answers, one after the other. A commit
behind a long conversation takes turns with one behind a short one. Each way has a process of its
own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp

from mullama_nb import CheckpointTree, Context, ContextParams, SamplingParams

from .bare import BareContext, make_llama, prompt_tokens
from .pairing import Stopwatch, hosted, race
from .report import Effort, Row, Table, compared
from .weights import load_model

__all__ = ["run"]

_TOKENS = 2048
_TURN = 64
_TURNS = 100
_ANSWERS = 8
_ANSWER_TOKENS = 48
_MOVES = 20  # in one measurement: a single one takes microseconds


class _Tree:
    def __init__(self, n_tokens: int) -> None:
        model = load_model()
        self.n_moves = min(_MOVES, n_tokens // _TURN - 1)
        self.context = Context(model, ContextParams(n_ctx=n_tokens + 2 * _TURN))
        self.tree = CheckpointTree(self.context)
        tokens = prompt_tokens(model, n_tokens)
        for begin in range(0, n_tokens, _TURN):
            self.context.evaluate(tokens[begin : begin + _TURN])
            self.tree.commit()
        self.leaf = self.tree.head
        self.tree.undo()
        self.context.evaluate(tokens[:_TURN])
        self.sibling = self.tree.commit()

    def undo(self) -> float:
        with Stopwatch() as watch:
            for _ in range(self.n_moves):
                self.tree.undo()
        self.tree.checkout(self.leaf)
        return watch.seconds / self.n_moves

    def redo(self) -> float:
        self.tree.checkout(self.leaf)
        self.tree.undo(self.n_moves)
        with Stopwatch() as watch:
            for _ in range(self.n_moves):
                self.tree.redo()
        return watch.seconds / self.n_moves

    def checkout(self) -> float:
        with Stopwatch() as watch:
            for number in range(self.n_moves):
                self.tree.checkout(self.leaf if number % 2 else self.sibling)
        return watch.seconds / self.n_moves


class _Committer:
    """Commits one token behind a conversation of some length, and takes it back."""

    def __init__(self, n_tokens: int) -> None:
        model = load_model()
        self.context = Context(model, ContextParams(n_ctx=n_tokens + _TURN))
        self.tree = CheckpointTree(self.context)
        self.tokens = prompt_tokens(model, n_tokens)
        self.context.evaluate(self.tokens)
        self.home = self.tree.commit()

    def commit(self) -> float:
        self.context.evaluate(self.tokens[:8])
        with Stopwatch() as watch:
            made = self.tree.commit()
        self.tree.checkout(self.home)
        self.tree.prune(made)
        return watch.seconds


class _Explorer:
    def __init__(self, n_tokens: int, n_answer_tokens: int) -> None:
        model = load_model()
        self.context = Context(model, ContextParams(n_ctx=n_tokens + 1024))
        self.n_answer_tokens = n_answer_tokens
        self.context.evaluate(prompt_tokens(model, n_tokens))
        self.n_tokens = n_tokens
        self.sampling = SamplingParams(temperature=1.0)

    def together(self) -> float:
        with Stopwatch() as watch:
            branches = self.context.explore(_ANSWERS, self.n_answer_tokens, sampling=self.sampling)
        return watch.seconds / sum(len(branch.completion.tokens) for branch in branches)

    def in_a_row(self) -> float:
        n_generated = 0
        with Stopwatch() as watch:
            for sibling in range(_ANSWERS):
                completion = self.context.generate(
                    None, self.n_answer_tokens, sampling=self.sampling, sibling=sibling
                )
                n_generated += len(completion.tokens)
                self.context.rewind(self.n_tokens)
        return watch.seconds / n_generated


class _Llama:
    def __init__(self, n_tokens: int) -> None:
        model = load_model()
        self.llama: Any = make_llama(model, ContextParams(n_ctx=n_tokens + 2 * _TURN))
        self.llama.eval(prompt_tokens(model, n_tokens))
        self.state: Any = self.llama.save_state()

    def load(self) -> float:
        with Stopwatch() as watch:
            self.llama.load_state(self.state)
        return watch.seconds

    def size(self) -> int:
        state = self.state
        return int(state.llama_state_size + state.scores.nbytes + state.input_ids.nbytes)


class _Bare:
    def __init__(self, n_tokens: int) -> None:
        model = load_model()
        self.context = BareContext(model, ContextParams(n_ctx=n_tokens + 2 * _TURN))
        self.context.decode(prompt_tokens(model, n_tokens))
        self.state = self.context.state

    def set_data(self) -> float:
        data = (ctypes.c_uint8 * len(self.state)).from_buffer_copy(self.state)
        self.context.cut(0)
        with Stopwatch() as watch:
            n = llama_cpp.llama_state_seq_set_data(self.context.handle, data, len(self.state), 0)
        assert n == len(self.state)
        return watch.seconds


def run(effort: Effort) -> Sequence[Table]:
    """Measure all cases."""
    n_tokens = max(3, effort.scaled(_TOKENS // _TURN)) * _TURN
    return [
        _moves(effort, n_tokens),
        _sizes(max(2, effort.scaled(_TURNS)), n_tokens),
        _exploring(effort),
        _commits(effort, n_tokens),
    ]


def _moves(effort: Effort, n_tokens: int) -> Table:
    about = f"{n_tokens:,} tokens in turns of {_TURN}, SmolLM2-135M Q4_1, f16 cache"
    table = Table("Moving in the tree, milliseconds", about)
    with (
        hosted(_Tree, n_tokens) as tree,
        hosted(_Llama, n_tokens) as llama,
        hosted(_Bare, n_tokens) as bare,
    ):
        result = race(
            {
                "undo": tree.way("undo"),
                "redo": tree.way("redo"),
                "checkout of a sibling": tree.way("checkout"),
                "Llama.load_state": llama.way("load"),
                "set the full state": bare.way("set_data"),
            },
            effort.rounds,
        )
    for way in ("undo", "redo", "checkout of a sibling"):
        table.add(compared(result, way, way, "Llama.load_state", target=100))
        table.add(compared(result, way, way, "set the full state", target=10))
    return table


def _sizes(n_turns: int, n_tokens: int) -> Table:
    """Turns that are kept in a tree, against a state for each of them."""
    model = load_model()
    longer = n_turns - n_turns // 2  # of the two branches
    with Context(model, ContextParams(n_ctx=_TURN * longer)) as context:
        tree = CheckpointTree(context)
        tokens = prompt_tokens(model, _TURN)
        for number in range(n_turns):
            if number == n_turns // 2:
                tree.checkout(tree.root)  # the other half is a branch of its own
            context.evaluate([*tokens[1:], tokens[0] + number])
            tree.commit()
        kept = tree.kv_bytes().total
        a_token = context.kv_bytes() / context.token_count()
    plain = n_turns * _TURN * a_token
    with hosted(_Llama, n_tokens) as llama:
        states = n_turns * llama.call("size")
    table = Table(f"Keeping {n_turns} turns of {_TURN} tokens, bytes", "in two branches")
    for name, n_bytes in (
        ("the tree", kept),
        ("tokens x KV bytes a token", plain),
        ("full snapshots", tree.kv_bytes().snapshots),
        ("Llama.save_state for each", states),
    ):
        ratio = n_bytes / plain
        target = ""
        if name == "the tree":
            target = "1.05 " + ("reached" if ratio <= 1.05 else "MISSED")
        cells = {"what": name, "bytes": f"{n_bytes:,.0f}", "ratio": f"{ratio:.3f}"}
        table.add(Row(cells | {"target": target}, {"what": name, "bytes": n_bytes}))
    return table


def _exploring(effort: Effort) -> Table:
    n_tokens = effort.shortened(_ANSWER_TOKENS)
    table = Table(f"{_ANSWERS} answers of {n_tokens} tokens, tokens a second", "behind 256 tokens")
    with hosted(_Explorer, 256, n_tokens) as explorer:
        result = race(
            {"in one batch": explorer.way("together"), "in a row": explorer.way("in_a_row")},
            effort.rounds,
        )
    case = "explore"
    table.add(compared(result, case, "in one batch", "in a row", per_second=1, target=1.6))
    return table


def _commits(effort: Effort, n_tokens: int) -> Table:
    table = Table("A commit of 8 tokens, milliseconds", f"behind {n_tokens:,} tokens and behind 64")
    with hosted(_Committer, n_tokens) as long, hosted(_Committer, 64) as short:
        result = race({"long": long.way("commit"), "short": short.way("commit")}, effort.rounds)
    table.add(compared(result, "commit", "long", "short"))
    return table
