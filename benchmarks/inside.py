"""What it costs to look inside: a look at a token, asking its layers, a map of the cells.

Looks at the last of 2,048 tokens take turns, in one process, with evaluating 64 more tokens behind
it: the target is a look in a quarter of that time. So does a generation before and after a look, in
contexts that were and were not looked into: a look must not slow the live context down.

A map of the cells is sent to the browser as messages. Counted is what they take for each token: the
whole map, and the changes while answers are generated, as the widget sends them. Answers with a map
that follows them take turns with answers without one, each in a process of its own; the browser is
left out, whose drawing costs the kernel nothing: the map may take two per cent of the tokens a
second.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mullama_nb import Chat, Context, ContextParams, Model, SamplingParams
from mullama_nb.history.cell_map.live import LiveCells
from mullama_nb.testing import make_tiny_model
from mullama_nb.widgets import CellMap

from .bare import prompt_tokens
from .pairing import Stopwatch, hosted, race
from .report import Effort, Row, Table, compared
from .weights import load_model

__all__ = ["run"]

_TOKENS = 2048
_MORE = 64
_TURNS = 24
_ANSWER = 24
_GREEDY = SamplingParams(temperature=0)
_QUARTER = 4.0
_AS_FAST = 0.98
_BYTES = 100
_ANSWER_SHOWN = 96
_QUESTIONS = ("Why do cats purr?", "Do dogs do so, too?", "Name three birds.")


class _Looker:
    """A context behind a number of tokens, looked into or not."""

    def __init__(self, n_tokens: int, is_looked_into: bool = True) -> None:
        model = load_model()
        self._context = Context(model, ContextParams(n_ctx=n_tokens + 2 * _MORE))
        tokens = prompt_tokens(model, n_tokens + _MORE)
        self._more = tokens[n_tokens:]
        self._n_tokens = n_tokens
        self._context.evaluate(tokens[:n_tokens])
        if is_looked_into:
            self._context.look()

    def look(self) -> float:
        with Stopwatch() as watch:
            self._context.look()
        return watch.seconds

    def ask_layers(self) -> float:
        look = self._context.look()
        with Stopwatch() as watch:
            look.guesses(5)
        return watch.seconds

    def logits_at(self) -> float:
        with Stopwatch() as watch:
            self._context.logits_at(self._n_tokens - 1)
        return watch.seconds

    def evaluate(self) -> float:
        with Stopwatch() as watch:
            self._context.evaluate(self._more)
        self._context.rewind(self._n_tokens)
        return watch.seconds

    def generate(self) -> float:
        with Stopwatch() as watch:
            said = self._context.generate(None, _MORE, sampling=_GREEDY)
        self._context.rewind(self._n_tokens)
        return watch.seconds / len(said.tokens)


class _CountedMap(CellMap):
    """A map that counts what it sends, in place of a browser."""

    n_sent = 0

    def send(self, content: Any, buffers: Sequence[Any] | None = None) -> None:
        self.n_sent += len(json.dumps(content, ensure_ascii=False).encode())
        self.n_sent += sum(len(memoryview(buffer).cast("B")) for buffer in buffers or ())


class _Answerer:
    """A chat that answers the same question again and again, shown as a map or not."""

    def __init__(self, n_tokens: int, is_mapped: bool) -> None:
        self._chat = Chat(load_model(), n_ctx=2048, temperature=0)
        self._n_tokens = n_tokens
        self.n_generated = 0
        for question in _QUESTIONS:
            self._chat.ask(question, max_tokens=n_tokens)
        self._map = _CountedMap(self._chat) if is_mapped else None
        if self._map is not None:
            self._map.listen()
            self._map.take_snapshot()

    def answer(self) -> float:
        with Stopwatch() as watch:
            turn = self._chat.ask("Go on, and tell me more of it.", max_tokens=self._n_tokens)
        self.n_generated += len(turn.tokens)
        self._chat.undo()
        return watch.seconds / len(turn.tokens)

    def bytes_a_token(self) -> float:
        self._chat.tree.flush()
        assert self._map is not None
        return self._map.n_sent / self.n_generated


def run(effort: Effort) -> Sequence[Table]:
    """Measure all cases."""
    n_tokens = max(1, effort.scaled(_TOKENS // _MORE)) * _MORE
    answers, n_bytes = _answers(effort)
    return [
        _looks(effort, n_tokens),
        _beside(effort, n_tokens),
        answers,
        _messages(effort, n_bytes),
    ]


def _looks(effort: Effort, n_tokens: int) -> Table:
    about = f"behind {n_tokens:,} tokens, SmolLM2-135M Q4_1, f16 cache"
    table = Table("Looking into a token, milliseconds", about)
    more = f"evaluating {_MORE} tokens"
    with hosted(_Looker, n_tokens) as looker:
        result = race(
            {
                "look": looker.way("look"),
                "guesses of all layers": looker.way("ask_layers"),
                "logits_at": looker.way("logits_at"),
                more: looker.way("evaluate"),
            },
            effort.rounds,
        )
    table.add(compared(result, "look", "look", more, target=_QUARTER))
    table.add(compared(result, "look", "look", "logits_at"))
    table.add(compared(result, "guesses", "guesses of all layers", more))
    return table


def _beside(effort: Effort, n_tokens: int) -> Table:
    table = Table("Generating in a context that was looked into, tokens a second", "greedy")
    with hosted(_Looker, n_tokens) as looked, hosted(_Looker, n_tokens, False) as plain:
        result = race(
            {"looked into": looked.way("generate"), "never": plain.way("generate")}, effort.rounds
        )
    row = compared(result, "generate", "looked into", "never", per_second=1, target=_AS_FAST)
    table.add(row)
    return table


def _answers(effort: Effort) -> tuple[Table, float]:
    """The table, and what the map sent for each token."""
    n_tokens = effort.shortened(_ANSWER_SHOWN)
    table = Table(
        "Answering beside a map of the cells, tokens a second", "SmolLM2-135M Q4_1, greedy"
    )
    with hosted(_Answerer, n_tokens, True) as mapped, hosted(_Answerer, n_tokens, False) as plain:
        result = race({"mapped": mapped.way("answer"), "plain": plain.way("answer")}, effort.rounds)
        n_bytes = float(mapped.call("bytes_a_token"))
    table.add(compared(result, "ask", "mapped", "plain", per_second=1, target=_AS_FAST))
    return table, n_bytes


def _messages(effort: Effort, n_bytes: float) -> Table:
    table = Table("What a map of the cells sends, bytes a token", "arrays, and the rest as JSON")
    with tempfile.TemporaryDirectory() as name:
        model = Model.load(make_tiny_model(Path(name) / "tiny.gguf"))
        chat = Chat(model, n_ctx=2048, n_threads=1, n_threads_batch=1, seed=1)
        for number in range(max(2, effort.scaled(_TURNS))):
            chat.ask(f"question {number}", max_tokens=_ANSWER)
            if number % 2:
                chat.regenerate(max_tokens=_ANSWER)
        cells = LiveCells(chat)
        n_cells = sum(len(strip.tokens) for strip in cells.map().strips)
        whole = _bytes(cells.message()) / n_cells
        chat.context.close()
    for case, figure in (("the whole map", whole), ("changes, as answers come", n_bytes)):
        verdict = "reached" if figure < _BYTES else "MISSED"
        shown = {"case": case, "bytes": f"{figure:.1f}", "target": f"{_BYTES} {verdict}"}
        table.add(Row(shown, {"case": case, "bytes": figure, "target": _BYTES}))
    return table


def _bytes(message: Mapping[str, Any] | None) -> int:
    """What a message takes: its arrays, and the rest as JSON."""
    if message is None:
        return 0
    arrays = [value for value in message.values() if isinstance(value, bytes)]
    rest = {name: value for name, value in message.items() if not isinstance(value, bytes)}
    return sum(map(len, arrays)) + len(json.dumps(rest, ensure_ascii=False).encode())
