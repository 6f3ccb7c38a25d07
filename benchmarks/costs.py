"""What things cost here: measured, and fitted to a model of cost.

One thread decodes, as in each of many workers that share a machine. Of what is fitted, each figure
is the median over rounds, and a fit's residuals are relative (root mean square), as what takes
milliseconds and what takes seconds count alike. Each subject has a process of its own; the model's
file is a copy that no other process has in memory, so that the system can be told to forget it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mullama_nb import (
    Context,
    ContextParams,
    Model,
    SamplingParams,
    SessionManager,
    kv_bytes_per_token,
)
from mullama_nb.testing import make_tiny_model

from .bare import prompt_tokens
from .fitting import Fit, fit
from .pairing import Hosted, Stopwatch, hosted, race
from .report import Effort

__all__ = ["Costs", "Measured", "measure", "model_file"]

_DEPTHS = (0, 512, 1024, 1920)
_LENGTHS = (64, 256, 512)  # and one more token, which is decoded alone
_PREFILLS = 5  # rounds, where one takes a quarter of a minute
_SHORT = 62  # and one: attention of fewer than 64 tokens takes another path in llama.cpp
_ROWS = (128, 512, 1024, 2048)
_ANSWERS = (1, 2, 4, 8, 16, 32)
_ANSWER_TOKENS = 24
_DECODED = 16
_ENTRIES = 20
_KV_CACHE_TYPES = ("f16", "q8_0")


@dataclass(frozen=True)
class Costs:
    """What things cost, fitted.

    Attributes
    ----------
    n_parameters, model_bytes : int
        Of the model that was measured.
    row_bytes : mapping of str to float
        Bytes of a token's rows, by type of the KV cache.
    evaluate : Fit
        Of a prompt: 1, its tokens, and the sum of what stands in front of each.
    decode : Fit
        Of one token: 1, and what stands in front of it.
    step : Fit
        Of one token of each of several answers in a batch: 1, and the answers.
    capture, restore, save, load : Fit
        Of rows: 1, and their bytes. Copied out of a context and back; written to a file that is
        then on disk, and read from one that is in memory, checked and copied into a context.
    entry : float
        Seconds to save rows that a store has already under another name.
    start : float
        Seconds until a new process has imported the package.
    load_cold, load_warm : float
        Seconds to load the model from disk, and from a file that is in memory.
    """

    n_parameters: int
    model_bytes: int
    row_bytes: Mapping[str, float]
    evaluate: Fit
    decode: Fit
    step: Fit
    capture: Fit
    restore: Fit
    save: Fit
    load: Fit
    entry: float
    start: float
    load_cold: float
    load_warm: float


@dataclass(frozen=True)
class Measured:
    """The costs, and single measurements that say where they do not hold.

    Attributes
    ----------
    costs : Costs
    short : mapping of int to tuple
        By the tokens in front: seconds for 63 tokens, and what the fit says of them.
    answers : mapping of int to float
        Tokens a second, by the number of answers in a batch.
    """

    costs: Costs
    short: Mapping[int, tuple[float, float]]
    answers: Mapping[int, float]


def _medians(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    result = race(ways, rounds)
    return {way: statistics.median(result.seconds[way]) for way in ways}


class _Evaluator:
    def __init__(self, path: Path, n_tokens: int) -> None:
        model = Model.load(path)
        self.tokens = prompt_tokens(model, n_tokens + 1024)
        self.context = Context(model, ContextParams(n_ctx=n_tokens + 1024, n_threads=1))
        self.context.evaluate(self.tokens[:n_tokens])
        self.rows = self.context.capture()

    def evaluate(self, depth: int, n_tokens: int) -> float:
        self.context.restore(self.rows)
        self.context.rewind(depth) if depth else self.context.clear()
        with Stopwatch() as watch:
            self.context.evaluate(self.tokens[depth : depth + n_tokens])
        return watch.seconds

    def decode(self, depth: int) -> float:
        self.context.restore(self.rows)
        self.context.rewind(max(1, depth))
        sampling = SamplingParams(temperature=0, logit_bias=_endless(self.context.model))
        with Stopwatch() as watch:
            said = self.context.generate(None, _DECODED, sampling=sampling)
        return watch.seconds / len(said.tokens)


def _endless(model: Model) -> dict[int, float]:
    """What keeps answers from ending, so that all have the same length."""
    return {token: -1e9 for token in range(model.n_vocab) if model.vocabulary.is_end(token)}


class _Answerer:
    def __init__(self, path: Path, n_answers: int, n_tokens: int) -> None:
        model = Model.load(path)
        cells = 256 + n_answers * (n_tokens + 1)
        params = ContextParams(n_ctx=cells, n_threads=1, n_parallel=n_answers)
        self.context = Context(model, params)
        self.context.evaluate(prompt_tokens(model, 256))
        self.sampling = SamplingParams(temperature=1, logit_bias=_endless(model))
        self.n_tokens = n_tokens

    def answer(self, n: int) -> float:
        """Seconds for one token of each."""
        with Stopwatch() as watch:
            self.context.explore(n, self.n_tokens, sampling=self.sampling)
        return watch.seconds / self.n_tokens


class _Keeper:
    def __init__(self, path: Path, lengths: Sequence[int], folder: Path) -> None:
        model = Model.load(path)
        tokens = prompt_tokens(model, max(lengths))
        self.folder, self._lengths = folder, lengths
        self.contexts, self.segments = {}, {}
        for kind in _KV_CACHE_TYPES:
            params = ContextParams(n_ctx=max(lengths), n_threads=1, kv_cache_type=kind)
            context = self.contexts[kind] = Context(model, params)
            for n in sorted(lengths):
                context.evaluate(tokens[context.token_count() : n])
                self.segments[kind, n] = context.capture()
                context.save_session(self._path(kind, n))

    def _path(self, kind: str, n: int) -> Path:
        return self.folder / f"{kind}-{n}.session"

    def n_bytes(self, kind: str, n: int) -> int:
        return int(self.segments[kind, n].data.nbytes)

    def capture(self, kind: str, n: int) -> float:
        self.contexts[kind].restore(self.segments[kind, n])
        with Stopwatch() as watch:
            self.contexts[kind].capture()
        return watch.seconds

    def restore(self, kind: str, n: int) -> float:
        self.contexts[kind].clear()
        with Stopwatch() as watch:
            self.contexts[kind].restore(self.segments[kind, n])
        return watch.seconds

    def save(self, kind: str, n: int) -> float:
        self.contexts[kind].restore(self.segments[kind, n])
        with Stopwatch() as watch:
            self.contexts[kind].save_session(self._path(kind, n))
        return watch.seconds

    def load(self, kind: str, n: int) -> float:
        self.contexts[kind].clear()
        with Stopwatch() as watch:
            self.contexts[kind].load_session(self._path(kind, n))
        return watch.seconds

    def entry(self) -> float:
        kind, n = _KV_CACHE_TYPES[0], min(self._lengths)
        context = self.contexts[kind]
        context.restore(self.segments[kind, n])
        manager = SessionManager(context.model, self.folder / "store", context.params)
        manager.save("first", context)
        with Stopwatch() as watch:
            for number in range(_ENTRIES):
                manager.save(f"another {number}", context)
        return watch.seconds / _ENTRIES


class _Loader:
    def begin(self) -> None:
        """Nothing: what is called is there."""

    def load(self, path: Path, is_cold: bool) -> float:
        if is_cold:
            _forget(path)
        with Stopwatch() as watch:
            Model.load(path)
        return watch.seconds


def _forget(path: Path) -> None:
    """Have the system drop its copy of a file, where it can be told."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _loading(path: Path, rounds: int) -> tuple[float, float, float]:
    """Seconds until a process is there, and to load a model cold and warm, each in a fresh one."""
    started: list[float] = []
    taken: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(rounds):
        for is_cold, seconds in taken.items():
            watch = Stopwatch()
            with contextlib.ExitStack() as stack:
                with watch:
                    loader = stack.enter_context(hosted(_Loader))
                    loader.call("begin")
                started.append(watch.seconds)
                seconds.append(float(loader.call("load", path, is_cold)))
    return (
        statistics.median(started),
        statistics.median(taken[True]),
        statistics.median(taken[False]),
    )


def _rows(keeper: Hosted, lengths: Sequence[int], rounds: int) -> dict[str, Fit]:
    cases = [(kind, n) for kind in _KV_CACHE_TYPES for n in lengths]
    terms = [(1.0, keeper.call("n_bytes", *case)) for case in cases]
    fits = {}
    for what in ("capture", "restore", "save", "load"):
        ways = {str(case): keeper.way(what, *case) for case in cases}
        fits[what] = fit(terms, [*_medians(ways, rounds).values()])
    return fits


def _evaluating(
    evaluator: Hosted, depths: Sequence[int], rounds: int
) -> tuple[Fit, Fit, dict[int, tuple[float, float]]]:
    cases = [(depth, n + 1) for depth in depths for n in _LENGTHS]
    cases += [(depth, _SHORT + 1) for depth in depths]
    ways = {str(case): evaluator.way("evaluate", *case) for case in cases}
    seconds = _medians(ways, rounds)

    def terms(depth: int, n: int) -> tuple[float, float, float]:
        return 1.0, n, n * (depth + n / 2)

    long = [case for case in cases if case[1] > _SHORT + 1]
    evaluate = fit([terms(*case) for case in long], [seconds[str(case)] for case in long])
    short = {
        depth: (seconds[str((depth, n))], evaluate(*terms(depth, n)))
        for depth, n in cases[len(long) :]
    }
    decoded = _medians({str(depth): evaluator.way("decode", depth) for depth in depths}, rounds)
    decode = fit([(1.0, depth) for depth in depths], [*decoded.values()])
    return evaluate, decode, short


def measure(effort: Effort) -> Measured:
    """Measure and fit everything that concerns one process."""
    depths = sorted({effort.shortened(depth) if depth else 0 for depth in _DEPTHS})
    lengths = sorted({effort.shortened(n) for n in _ROWS})
    n_tokens = effort.shortened(_ANSWER_TOKENS)
    rounds = min(_PREFILLS, effort.rounds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = model_file(effort, folder)
        start, cold, warm = _loading(path, rounds)
        with hosted(_Evaluator, path, max(1, *depths)) as evaluator:
            evaluate, decode, short = _evaluating(evaluator, depths, rounds)
        with hosted(_Answerer, path, max(_ANSWERS), n_tokens) as answerer:
            ways = {str(n): answerer.way("answer", n) for n in _ANSWERS}
            steps = _medians(ways, rounds)
        with hosted(_Keeper, path, lengths, folder) as keeper:
            rows = _rows(keeper, lengths, effort.rounds)
            entry = float(keeper.call("entry"))
        model = Model.load(path)
        costs = Costs(
            n_parameters=model.n_parameters,
            model_bytes=path.stat().st_size,
            row_bytes={
                kind: kv_bytes_per_token(model, ContextParams(kv_cache_type=kind))
                for kind in _KV_CACHE_TYPES
            },
            evaluate=evaluate,
            decode=decode,
            step=fit([(1.0, n) for n in _ANSWERS], [*steps.values()]),
            entry=entry,
            start=start,
            load_cold=cold,
            load_warm=warm,
            **rows,
        )
    return Measured(costs, short, {n: n / steps[str(n)] for n in _ANSWERS})


def model_file(effort: Effort, folder: Path) -> Path:
    """A copy of SmolLM2 in a folder; where speed does not matter, a tiny model."""
    path = folder / "model.gguf"
    if effort.is_trial:
        return make_tiny_model(path)
    shutil.copyfile(Model.load("smollm2").path, path)
    os.sync()  # only what is on disk can be forgotten
    return path
