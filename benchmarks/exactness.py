"""What goes on exactly as if nothing had happened, and what a bad state does.

At ten points, each within an answer of another conversation, the same is done with every way:
evaluate the tokens up to there, save, go on for 64 greedy tokens (the uninterrupted run), then load
into a fresh context and go on for 64 tokens again. Counted are the points at which all tokens
agree, and over all points and steps the logits that agree to the bit. Each way is used as its own
callers use it: llama.cpp's evaluate a prompt in one batch, and decode its last token again where a
state has no logits.

Then each way gets a state that was cut short and one of another KV cache type, in a process of its
own: does the process live, and is the live conversation still there?
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mullama_nb import Context, ContextParams, ControlVector, Model
from mullama_nb.errors import SessionError

from .bare import BareContext, make_llama, next_logits, prompt_tokens, sequence_state
from .report import Effort, Row, Table
from .weights import load_model

__all__ = ["run"]

_PARAMS = ContextParams(n_ctx=1024)
_STEPS = 64
_POINTS = {  # a question, and the tokens of its answer that come before the point
    "Why is the sea salty?": 40,
    "Tell me about the history of glass.": 81,
    "How do bees find their way home?": 125,
    "What would a city without cars look like?": 170,
    "Describe a walk through a forest in winter.": 220,
    "Explain how a clock keeps time.": 293,
    "Write a letter from a lighthouse keeper.": 360,
    "How is bread made?": 450,
    "Tell me a story about a lost map.": 600,
    "Why do we dream?": 750,
}

Logits: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Walk:
    """Greedy tokens, and the logits that each was chosen from."""

    tokens: Sequence[int]
    logits: Sequence[Logits]

    def agreement(self, other: Walk) -> tuple[bool, int]:
        """Whether all tokens agree, and how many logits do to the bit."""
        pairs = zip(self.logits, other.logits, strict=True)
        return self.tokens == other.tokens, sum(a.tobytes() == b.tobytes() for a, b in pairs)


Resumption: TypeAlias = Callable[[Model, Sequence[int], Path], tuple[Walk, Walk]]


# -- the ways to save and go on ------------------------------------------------------------------


def _walk_context(context: Context) -> Walk:
    tokens, logits = [], []
    for _ in range(_STEPS):
        logits.append(context.logits)
        tokens.append(int(logits[-1].argmax()))
        context.evaluate(tokens[-1:])
    return Walk(tokens, logits)


def _walk_bare(context: BareContext) -> Walk:
    tokens, logits = [], []
    for _ in range(_STEPS):
        logits.append(context.logits)
        tokens.append(int(logits[-1].argmax()))
        context.decode(tokens[-1:])
    return Walk(tokens, logits)


def _walk_llama(llama: Any, prompt: Sequence[int]) -> Walk:
    tokens, logits = [], []
    for token in llama.generate(prompt, temp=0.0):
        tokens.append(int(token))
        logits.append(next_logits(llama.ctx, llama.n_vocab()))
        if len(tokens) == _STEPS:
            break
    return Walk(tokens, logits)


def _session(
    model: Model, prompt: Sequence[int], path: Path, *, include_logits: bool = True
) -> tuple[Walk, Walk]:
    with Context(model, _PARAMS) as context:
        context.evaluate(prompt)
        context.save_session(path, include_logits=include_logits)
        before = _walk_context(context)
    with Context(model, _PARAMS) as context:
        context.load_session(path)
        return before, _walk_context(context)


def _session_without_logits(model: Model, prompt: Sequence[int], path: Path) -> tuple[Walk, Walk]:
    return _session(model, prompt, path, include_logits=False)


def _session_with_adapters(model: Model, prompt: Sequence[int], path: Path) -> tuple[Walk, Walk]:
    """A control vector is on for the later half of the prompt, and with another scale behind it."""
    rows = np.random.default_rng(0).normal(0, 0.05, (model.n_layers, model.n_embd))
    vector = ControlVector.from_array(rows * (np.arange(model.n_layers)[:, None] > 0))
    half = len(prompt) // 2
    with Context(model, _PARAMS) as context:
        context.evaluate(prompt[:half])
        context.adapters = [vector]
        context.evaluate(prompt[half:])
        context.adapters = [vector.with_scale(0.5)]
        context.save_session(path)
        before = _walk_context(context)
    with Context(model, _PARAMS) as context:
        context.load_session(path, adapters=[vector])
        return before, _walk_context(context)


def _sequence_file(model: Model, prompt: Sequence[int], path: Path) -> tuple[Walk, Walk]:
    with contextlib.closing(BareContext(model, _PARAMS)) as context:
        context.decode(prompt)
        context.save(path, prompt)
        before = _walk_bare(context)
    with contextlib.closing(BareContext(model, _PARAMS)) as context:
        tokens = context.load(path, len(prompt))
        context.cut(len(tokens) - 1)
        context.decode(tokens[-1:])
        return before, _walk_bare(context)


def _llama_state(model: Model, prompt: Sequence[int], _: Path) -> tuple[Walk, Walk]:
    with contextlib.closing(make_llama(model, _PARAMS)) as llama:
        llama.eval(prompt)
        state = llama.save_state()
        before = _walk_llama(llama, prompt)
    with contextlib.closing(make_llama(model, _PARAMS)) as llama:
        llama.load_state(state)
        return before, _walk_llama(llama, prompt)


_WAYS: dict[str, Resumption] = {
    "session file": _session,
    "session file without logits": _session_without_logits,
    "session file with adapters": _session_with_adapters,
    "llama_state_seq_save_file": _sequence_file,
    "Llama.save_state": _llama_state,
}


# -- what a bad state does -----------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What came of loading a bad state beside a live conversation."""

    refused: bool
    kept: bool


def _spoilt(accident: str) -> ContextParams:
    """Parameters of the context that the bad state comes from."""
    return replace(_PARAMS, kv_cache_type="q8_0") if accident == "other KV type" else _PARAMS


def _cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 6 // 10)


def _bad_session(accident: str, path: Path) -> Outcome:
    model = load_model()
    with Context(model, _spoilt(accident)) as other:
        other.evaluate(prompt_tokens(model, 200))
        other.save_session(path)
    if accident == "cut short":
        _cut_short(path)
    with Context(model, _PARAMS) as context:
        context.evaluate(prompt_tokens(model, 100))
        before, refused = context.capture(), False
        try:
            context.load_session(path)
        except SessionError:
            refused = True
        after = context.capture()
        same = before.tokens == after.tokens and np.array_equal(before.data, after.data)
        return Outcome(refused, same)


def _bad_sequence_file(accident: str, path: Path) -> Outcome:
    model = load_model()
    with contextlib.closing(BareContext(model, _spoilt(accident))) as other:
        other.decode(prompt_tokens(model, 200))
        other.save(path, prompt_tokens(model, 200))
    if accident == "cut short":
        _cut_short(path)
    with contextlib.closing(BareContext(model, _PARAMS)) as context:
        context.decode(prompt_tokens(model, 100))
        before = context.state
        refused = not context.load(path, 200)
        return Outcome(refused, context.state == before)


def _bad_llama_state(accident: str, _: Path) -> Outcome:
    model = load_model()
    with contextlib.closing(make_llama(model, _spoilt(accident))) as other:
        other.eval(prompt_tokens(model, 200))
        state = other.save_state()
    if accident == "cut short":
        state.llama_state_size = state.llama_state_size * 6 // 10
        state.llama_state = state.llama_state[: state.llama_state_size]
    with contextlib.closing(make_llama(model, _PARAMS)) as llama:
        llama.eval(prompt_tokens(model, 100))
        before, refused = sequence_state(llama.ctx), False
        try:
            llama.load_state(state)
        except RuntimeError:
            refused = True
        return Outcome(refused, llama.n_tokens == 100 and sequence_state(llama.ctx) == before)


_ACCIDENTS = ("cut short", "other KV type")
_BAD: dict[str, Callable[[str, Path], Outcome]] = {
    "session file": _bad_session,
    "llama_state_seq_load_file": _bad_sequence_file,
    "Llama.load_state": _bad_llama_state,
}


def _watched(connection: Connection, way: str, accident: str, path: Path) -> None:
    """Runs in a child; llama.cpp's last words go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        connection.send(_BAD[way](accident, path))
    except Exception as error:
        connection.send(error)


def _outcome(way: str, accident: str, path: Path) -> Outcome | None:
    """What happens in a child; None where it dies."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_watched, args=(theirs, way, accident, path))
    process.start()
    theirs.close()
    try:
        outcome = ours.recv()
    except EOFError:
        outcome = None
    process.join()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome if isinstance(outcome, Outcome) else None


# -- tables --------------------------------------------------------------------------------------


def _points(model: Model, n_points: int) -> list[list[int]]:
    """The tokens of conversations that stop within an answer; no token in them ends it."""
    points = []
    never = {token: -math.inf for token in range(model.n_vocab) if model.vocabulary.is_end(token)}
    for number, (question, n_tokens) in enumerate(list(_POINTS.items())[:n_points]):
        with Context(model, _PARAMS) as context:
            context.generate(
                messages=[{"role": "user", "content": question}],
                max_tokens=n_tokens,
                seed=number,
                logit_bias=never,
            )
            points.append(list(context.tokens))
    return points


def _exact_rows(points: Sequence[Sequence[int]], model: Model) -> Iterator[Row]:
    for name, resume in _WAYS.items():
        same_tokens = same_logits = 0
        for tokens in points:
            with tempfile.TemporaryDirectory() as folder:
                before, after = resume(model, tokens, Path(folder) / "state")
            agrees, n_logits = before.agreement(after)
            same_tokens += agrees
            same_logits += n_logits
        total = _STEPS * len(points)
        cells = {
            "state": name,
            f"same {_STEPS} tokens": f"{same_tokens} of {len(points)}",
            "same logits to the bit": f"{same_logits} of {total}",
        }
        values = {
            "state": name,
            "points": len(points),
            "points_with_same_tokens": same_tokens,
            "logits": total,
            "same_logits": same_logits,
        }
        yield Row(cells, values)


def _bad_rows() -> Iterator[Row]:
    os.environ["GGML_NO_BACKTRACE"] = "1"
    for way in _BAD:
        for accident in _ACCIDENTS:
            with tempfile.TemporaryDirectory() as folder:
                outcome = _outcome(way, accident, Path(folder) / "state")
            cells = {
                "state": f"{way}, {accident}",
                "process": "dies" if outcome is None else "lives",
                "refused": "-" if outcome is None else _yes_or_no(outcome.refused),
                "live conversation": (
                    "lost" if outcome is None or not outcome.kept else "as it was"
                ),
            }
            yield Row(cells, {"way": way, "accident": accident, **cells})


def _yes_or_no(answer: bool) -> str:
    return "yes" if answer else "no"


def run(effort: Effort) -> Sequence[Table]:
    """Count all cases."""
    model = load_model()
    points = _points(model, effort.scaled(len(_POINTS)))
    exact = Table(
        "What resumes exactly", f"{len(points)} points, {_STEPS} greedy steps each, f16 cache"
    )
    exact.rows.extend(_exact_rows(points, model))
    bad = Table("Loading a bad state", "beside a live conversation, in a process of its own")
    bad.rows.extend(_bad_rows())
    return [exact, bad]
