"""What a step costs behind n others: curves over n, and the exponents that they have.

Each step is done behind 100, 1,000 and 10,000 checkpoints, segments or names (fewer with
``--quick``), with a model of two layers whose decoding costs next to nothing. Shown is the fastest
of several; ``exponent`` is the slope of a line through the logarithms: 0 for what does not depend
on n, 1 for what grows with it. Autosaving is measured by what it writes, too. What ``ask`` does
beside decoding is the processor time of the thread that asks; n counts messages there, one for
every 25 of the others.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mullama_nb import (
    Chat,
    CheckpointTree,
    Context,
    ContextParams,
    Model,
    SessionManager,
)
from mullama_nb.errors import ParameterWarning
from mullama_nb.state.segment import Segment
from mullama_nb.state.store import SegmentStore
from mullama_nb.testing import make_tiny_model

from .report import Effort, Row, Table

__all__ = ["run"]

_SIZES = (100, 1_000, 10_000)
_FLAT, _LINEAR = 0.35, 1.25
_GROWING = ("Chat.open", "ask, beside decoding", "tree as SVG")
_TOKENS = (40, 41, 42)
_TIMES = 5

Figures = dict[str, list[float]]
"""Of each case, for one size after the other."""


def _fastest(job: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """Milliseconds of the calling thread and of all that it waits for."""
    taken = []
    for _ in range(_TIMES):
        before()
        began = time.perf_counter()
        job()
        taken.append(time.perf_counter() - began)
    return 1e3 * min(taken)


def _params(n_tokens: int) -> ContextParams:
    return ContextParams(n_ctx=n_tokens, n_threads=1, n_threads_batch=1)


def _say(chat: Chat, number: int) -> None:
    """A message as a checkpoint of one token, as cheap as that can be."""
    role = ("user", "assistant")[number % 2]
    chat.context.evaluate([_TOKENS[number % 3]])
    chat.tree.commit(role=role, message={"role": role, "content": f"message {number}"})


def _tree_figures(model: Model, n: int) -> Iterator[tuple[str, float]]:
    with Context(model, _params(n + 64)) as context:
        tree = CheckpointTree(context)
        for number in range(n):
            context.evaluate([_TOKENS[number % 3]])
            tree.commit(role="user")
        leaf = tree.head
        tree.undo()
        context.evaluate([50])
        sibling = tree.commit()
        yield "undo", _fastest(tree.undo, lambda: tree.checkout(leaf))
        yield "redo", _fastest(tree.redo, tree.undo)
        yield (
            "checkout of a sibling",
            _fastest(lambda: tree.checkout(sibling), lambda: tree.checkout(leaf)),
        )
        yield 'tree["id"]', _fastest(lambda: tree[leaf.short_id])
        yield "commit", _fastest(tree.commit, lambda: context.evaluate([51]))
        yield "tree as SVG", _fastest(tree._repr_html_)
        yield "tree as SVG, bytes", float(len(tree._repr_html_()))


def _chat_figures(model: Model, n: int, folder: Path) -> Iterator[tuple[str, float]]:
    chat = Chat(model, n_ctx=n + 64, n_threads=1, n_threads_batch=1)
    for number in range(n):
        _say(chat, number)
    chat.autosave("chat", folder)
    written = []
    taken = []
    for number in range(_TIMES):
        before = _written()
        with chat.tree.turn():
            _say(chat, n + number)
            began = time.perf_counter()
        taken.append(time.perf_counter() - began)
        written.append(_written() - before)
    yield "autosave of a turn", 1e3 * min(taken)
    yield "autosave of a turn, bytes", float(min(written))
    chat.autosave(None)
    chat.context.close()
    began = time.perf_counter()
    opened = Chat.open("chat", model, folder)
    yield "Chat.open", 1e3 * (time.perf_counter() - began)
    opened.context.close()


def _written() -> int:
    """Bytes that this process has had written so far; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def _ask_figures(model: Model, n: int) -> Iterator[tuple[str, float]]:
    messages = [
        {"role": ("user", "assistant")[i % 2], "content": f"number {i}"} for i in range(2 * n)
    ]
    chat = Chat(model, n_ctx=40 * (2 * n + 8), n_threads=1, n_threads_batch=1, temperature=0)
    with chat.context:
        chat.replay(messages)
        taken = []
        for number in range(_TIMES):
            began = time.thread_time()
            chat.ask(f"question {number}", max_tokens=1)
            taken.append(time.thread_time() - began)
    yield "ask, beside decoding", 1e3 * min(taken)


def _store_figures(n: int, folder: Path) -> Iterator[tuple[str, float]]:
    def segment(number: int) -> Segment:
        return Segment(number, (1,), np.zeros(64, np.uint8), "growth")

    store = SegmentStore(1 << 30, folder)
    addresses = [store.put(segment(number)) for number in range(n)]
    yield "put of a segment", _fastest(lambda: store.put(segment(n)))
    yield "get of a segment", _fastest(lambda: store.get(addresses[0]))
    store.close()


def _name_figures(model: Model, n: int, folder: Path) -> Iterator[tuple[str, float]]:
    manager = SessionManager(model, folder, _params(256))
    with Context(model, manager.params) as context:
        context.evaluate(_TOKENS)
        for number in range(n):
            manager.save(f"session {number}", context)
        context.evaluate([60])
        last = f"session {n // 2}"
        made = iter(range(_TIMES))
        yield "save of a session", _fastest(lambda: manager.save(f"new {next(made)}", context))
        yield "info of a session", _fastest(lambda: manager.info(last))
        gone = iter(range(_TIMES))
        yield "delete of a session", _fastest(lambda: manager.delete(f"new {next(gone)}"))


def _measured(sizes: Sequence[int]) -> Figures:
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        # More tokens than the tiny model was made for: what it says makes no sense anyway.
        warnings.simplefilter("ignore", ParameterWarning)
        model = Model.load(make_tiny_model(Path(name) / "tiny.gguf"))
        for n in sizes:
            folder = Path(name) / str(n)
            for case, figure in (
                *_tree_figures(model, n),
                *_chat_figures(model, n, folder / "chat"),
                *_ask_figures(model, max(2, n // 50)),
                *_store_figures(n, folder / "store"),
                *_name_figures(model, n, folder / "names"),
            ):
                figures.setdefault(case, []).append(figure)
    return figures


def run(effort: Effort) -> Sequence[Table]:
    """Measure all cases."""
    sizes = [max(2 + place, effort.scaled(n)) for place, n in enumerate(_SIZES)]
    table = Table("What a step costs behind n others, milliseconds", "a model of two layers")
    for case, figures in _measured(sizes).items():
        slope = np.polyfit(np.log(sizes), np.log(np.maximum(figures, 1e-6)), 1)[0]
        target = _LINEAR if case in _GROWING else _FLAT
        shown = {f"n = {n:,}": f"{figure:,.3g}" for n, figure in zip(sizes, figures, strict=True)}
        verdict = "reached" if slope <= target else "MISSED"
        cells = {"case": case, **shown, "exponent": f"{slope:.2f}", "target": f"{target} {verdict}"}
        values = {"case": case, "n": sizes, "figures": figures, "exponent": float(slope)}
        table.add(Row(cells, values))
    return [table]
