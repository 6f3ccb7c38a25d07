"""What it costs to look inside: a look at a token, asking its layers, a map of the cells.

Looks at the last of 2,048 tokens take turns, in one process, with evaluating 64 more tokens behind
it: the target is a look in a quarter of that time. So does a generation before and after a look, in
contexts that were and were not looked into: a look must not slow the live context down.

A map of the cells is sent to the browser as messages. Counted is what one with the whole map takes
for each token.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mullama_nb import Chat, Context, ContextParams, Model, SamplingParams
from mullama_nb.history.cells import LiveCells
from mullama_nb.testing import make_tiny_model

from .bare import prompt_tokens
from .pairing import Stopwatch, hosted, race
from .report import Effort, Row, Table, compared

__all__ = ["run"]

_TOKENS = 2048
_MORE = 64
_TURNS = 24
_ANSWER = 24
_GREEDY = SamplingParams(temperature=0)
_QUARTER = 4.0
_AS_FAST = 0.98
_BYTES = 100


class _Looker:
    """A context behind a number of tokens, looked into or not."""

    def __init__(self, n_tokens: int, is_looked_into: bool = True) -> None:
        model = Model.load("smollm2")
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


def run(effort: Effort) -> Sequence[Table]:
    """Measure all cases."""
    n_tokens = max(1, effort.scaled(_TOKENS // _MORE)) * _MORE
    return [_looks(effort, n_tokens), _beside(effort, n_tokens), _messages(effort)]


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


def _messages(effort: Effort) -> Table:
    table = Table("What a map of the cells sends, bytes a token", "a tiny model, two branches")
    with tempfile.TemporaryDirectory() as name:
        model = Model.load(make_tiny_model(Path(name) / "tiny.gguf"))
        chat = Chat(model, n_ctx=2048, n_threads=1, n_threads_batch=1, seed=1)
        for number in range(max(2, effort.scaled(_TURNS))):
            chat.ask(f"question {number}", max_tokens=_ANSWER)
            if number % 2:
                chat.regenerate(max_tokens=_ANSWER)
        cells = LiveCells(chat)
        n_bytes = _bytes(cells.message())
        n_cells = sum(len(strip.tokens) for strip in cells.map().strips)
        chat.context.close()
    figure = n_bytes / n_cells
    shown = {"case": "the whole map", "tokens": f"{n_cells:,}", "bytes a token": f"{figure:.1f}"}
    target = f"{_BYTES} {'reached' if figure < _BYTES else 'MISSED'}"
    table.add(Row(shown | {"target": target}, shown | {"bytes": n_bytes, "target": _BYTES}))
    return table


def _bytes(message: Mapping[str, Any] | None) -> int:
    """What a message takes: its arrays, and the rest as JSON."""
    if message is None:
        return 0
    arrays = [value for value in message.values() if isinstance(value, bytes)]
    rest = {name: value for name, value in message.items() if not isinstance(value, bytes)}
    return sum(map(len, arrays)) + len(json.dumps(rest, ensure_ascii=False).encode())
