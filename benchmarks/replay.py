"""Replaying a recorded conversation, against nothing but evaluating and decoding its tokens.

Four questions with answers of 48 tokens, the last one answered twice. A replay reads the file,
makes a context, forces every recorded token, draws beside it, notes how likely it was and reports.
It takes turns with a context of llama.cpp's own that evaluates the same prompts and decodes the
same tokens one by one, which is what no replay can do without. Each way has a process of its own
and finds the weights loaded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mullama_nb import Chat, ContextParams
from mullama_nb.testing import read, record, replay

from .bare import BareContext
from .pairing import Stopwatch, hosted, race
from .report import Effort, Table, compared
from .weights import load_model

__all__ = ["run"]

_QUESTIONS = (
    "Name three colours, and say why you like them.",
    "Tell me a story about a ferry in the fog.",
    "Explain what a KV cache is.",
    "List five animals that live in the sea.",
)
_ANSWER_TOKENS = 48
_SHARE = 1 / 1.1  # of the speed of what is needed


class _Replayed:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = load_model()

    def replay(self) -> float:
        with Stopwatch() as watch:
            report = replay(self.path, self.model, "exact")
        assert report.is_identical, report
        return watch.seconds


class _Needed:
    def __init__(self, path: Path) -> None:
        self.model = load_model()
        recording = read(path)
        self.entries = recording.entries
        self.params = ContextParams(**recording.params).with_changes(n_ctx=1024)

    def decode(self) -> float:
        stops: dict[str | None, int] = {None: 0}
        with Stopwatch() as watch:
            context = BareContext(self.model, self.params)
            for entry in self.entries:
                context.cut(stops[entry.parent])
                pieces: list[tuple[int, ...]] = [(token,) for token in entry.tokens]
                if not entry.is_generated:  # the last one alone, as every evaluation is sealed
                    pieces = [entry.tokens[:-1], entry.tokens[-1:]]
                for piece in filter(None, pieces):
                    context.decode(piece)
                stops[entry.id] = context.n_tokens
            context.close()
        return watch.seconds


def run(effort: Effort) -> Sequence[Table]:
    """Measure the one case."""
    questions = _QUESTIONS[: max(2, effort.scaled(len(_QUESTIONS)))]
    n_tokens = effort.shortened(_ANSWER_TOKENS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "conversation.mullama.json"
        chat = Chat(load_model(), "You are a helpful assistant.", n_ctx=1024, seed=1)
        for question in questions:
            chat.ask(question, max_tokens=n_tokens)
        chat.regenerate(max_tokens=n_tokens)
        recording = record(chat, path)
        chat.context.close()
        with hosted(_Replayed, path) as ours, hosted(_Needed, path) as needed:
            result = race(
                {"replay": ours.way("replay"), "evaluate and decode": needed.way("decode")},
                effort.rounds,
            )
    n_prompt = sum(len(entry.tokens) for entry in recording.entries if not entry.is_generated)
    about = f"{n_prompt} tokens of prompts, {recording.n_measured} generated, SmolLM2-135M Q4_1"
    table = Table("Replaying a conversation, milliseconds", about)
    table.add(compared(result, "replay", "replay", "evaluate and decode", target=round(_SHARE, 3)))
    return [table]
