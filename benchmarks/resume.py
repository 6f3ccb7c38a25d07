"""Going on where a conversation of 2,048 tokens stood: time and bytes.

What is measured ends when the logits of the next token are there, and takes turns with

- evaluating the conversation's tokens again in an empty context,
- ``Llama.load_state``, which has to decode the last token again for its logits. Its state lies in
  memory, so it takes turns with ``restore`` of a captured segment too; a session file has to be
  read and checked first.

Saving is compared in the same way: ``Llama.save_state`` keeps the state in memory, as ``capture``
does, while ``save_session`` ends when the file is on disk. Each way has a process of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp

from mullama_nb import Context, ContextParams

from .bare import make_llama, prompt_tokens
from .pairing import Stopwatch, hosted, race
from .report import Effort, Row, Table, compared
from .weights import load_model

__all__ = ["run"]

_TOKENS = 2048
_PREFILLS = 3  # they take seconds and vary little


class _Ours:
    def __init__(self, n_tokens: int, path: Path) -> None:
        model = load_model()
        self.path = path
        self.tokens = prompt_tokens(model, n_tokens)
        self.context = Context(model, ContextParams(n_ctx=n_tokens + 1))
        self.context.evaluate(self.tokens)
        self.segment = self.context.capture()
        self.context.save_session(path)

    def evaluate(self) -> float:
        self.context.clear()
        with Stopwatch() as watch:
            self.context.evaluate(self.tokens)
            self.context.top_tokens(1)
        return watch.seconds

    def load(self) -> float:
        self.context.clear()
        with Stopwatch() as watch:
            self.context.load_session(self.path)
            self.context.top_tokens(1)
        return watch.seconds

    def restore(self) -> float:
        self.context.clear()
        with Stopwatch() as watch:
            self.context.restore(self.segment)
            self.context.top_tokens(1)
        return watch.seconds

    def save(self) -> float:
        with Stopwatch() as watch:
            self.context.save_session(self.path)
        return watch.seconds

    def capture(self) -> float:
        with Stopwatch() as watch:
            self.segment = self.context.capture()
        return watch.seconds

    def sizes(self) -> tuple[int, int]:
        logits = self.segment.logits
        return (
            self.path.stat().st_size,
            self.segment.data.nbytes + (0 if logits is None else logits.nbytes),
        )


class _Llama:
    def __init__(self, n_tokens: int) -> None:
        model = load_model()
        self.tokens = prompt_tokens(model, n_tokens)
        self.llama: Any = make_llama(model, ContextParams(n_ctx=n_tokens + 1))
        self.llama.eval(self.tokens)
        self.state: Any = self.llama.save_state()

    def load(self) -> float:
        self.llama.reset()
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.llama.ctx), False)
        with Stopwatch() as watch:
            self.llama.load_state(self.state)
            self.llama.n_tokens -= 1
            self.llama.eval(self.tokens[-1:])
        return watch.seconds

    def save(self) -> float:
        with Stopwatch() as watch:
            self.state = self.llama.save_state()
        return watch.seconds

    def size(self) -> int:
        state = self.state
        return int(state.llama_state_size + state.scores.nbytes + state.input_ids.nbytes)


def run(effort: Effort) -> Sequence[Table]:
    """Measure all cases."""
    n_tokens = effort.scaled(_TOKENS)
    about = f"{n_tokens:,} tokens, SmolLM2-135M Q4_1, f16 cache"
    times = Table("Resuming, milliseconds to the next token's logits", about)
    sizes = Table("Resuming, bytes", about)
    with (
        tempfile.TemporaryDirectory() as folder,
        hosted(_Ours, n_tokens, Path(folder) / "session") as ours,
        hosted(_Llama, n_tokens) as llama,
    ):
        again = race(
            {"load_session": ours.way("load"), "evaluate again": ours.way("evaluate")},
            min(_PREFILLS, effort.rounds),
        )
        times.add(compared(again, "resume", "load_session", "evaluate again"))
        loads = race(
            {
                "load_session": ours.way("load"),
                "restore": ours.way("restore"),
                "Llama.load_state": llama.way("load"),
            },
            effort.rounds,
        )
        times.add(compared(loads, "resume", "load_session", "Llama.load_state"))
        times.add(compared(loads, "resume in memory", "restore", "Llama.load_state"))
        saves = race(
            {
                "save_session": ours.way("save"),
                "capture": ours.way("capture"),
                "Llama.save_state": llama.way("save"),
            },
            effort.rounds,
        )
        times.add(compared(saves, "save", "save_session", "Llama.save_state"))
        times.add(compared(saves, "save in memory", "capture", "Llama.save_state"))
        file, segment = ours.call("sizes")
        for name, n_bytes in (
            ("session file", file),
            ("captured segment", segment),
            ("Llama.save_state", llama.call("size")),
        ):
            sizes.add(_size(name, n_bytes, n_tokens))
    return [times, sizes]


def _size(name: str, n_bytes: int, n_tokens: int) -> Row:
    cells = {
        "state": name,
        "bytes": f"{n_bytes:,}",
        "bytes a token": f"{n_bytes / n_tokens:,.0f}",
    }
    return Row(cells, {"state": name, "bytes": n_bytes, "tokens": n_tokens})
