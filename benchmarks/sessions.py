"""Saving and loading sessions: what atomic writes and checking every byte cost.

``Context.save_session`` and ``load_session`` take turns with llama.cpp's own
``llama_state_seq_save_file`` and ``llama_state_seq_load_file``, on contexts with the same
parameters and the same tokens. Both write a new file and end when it is on disk: theirs by an fsync
of the file after the call, ours by an fsync of file and folder around a rename. Our file also holds
metadata, logits and a checksum. Both load into an empty context, once from disk and once from a
warm page cache; ours checks the checksum and the structure of the whole file before llama.cpp sees
it. The target is 0.8 of llama.cpp's throughput.

llama.cpp reads each tensor's rows into a small buffer that stays in the CPU's cache, and has put
the first rows into its cells before it has read the last. Whoever checks a file before use has to
hold all of it first: 47 MB are read from memory once more, and written once more. ``read, then
set`` does that and checks nothing: what it reaches is the most that any checked load from a warm
page cache can. Of ours, with 2,048 tokens in f16, reading takes 4 ms, hashing 1, looking for
numbers that are none 2 and setting 5; llama.cpp's takes 7 in all. From disk llama.cpp's takes 21,
as long as the disk needs; ours begins to set when all of it has come.

Two threads read from a warm cache in 3 ms instead of 4, and from disk in 29 instead of 24. To tell
the system which parts come next (``posix_fadvise``), all of them or a window ahead, costs up to
half of the pace from disk. To map the file instead of reading it would save the copy, and end the
process when somebody cuts the file.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mullama_nb import Context, ContextParams, Model
from mullama_nb.state.buffer import empty_bytes

from .bare import BareContext, prompt_tokens
from .pairing import Stopwatch, race
from .report import Effort, Row, Table, compared
from .weights import load_model

__all__ = ["run"]

_LENGTHS = (256, 1024, 2048)
_KV_CACHE_TYPES = ("f16", "q8_0")
_TARGET = 0.8
_BEFORE_STATE = 4  # magic, version and count, and then tokens; the state's own header is 8 bytes


def _save_ours(context: Context, path: Path) -> float:
    path.unlink(missing_ok=True)
    with Stopwatch() as watch:
        context.save_session(path)
    return watch.seconds


def _save_theirs(context: BareContext, path: Path, tokens: Sequence[int]) -> float:
    path.unlink(missing_ok=True)
    with Stopwatch() as watch:
        context.save(path, tokens)
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return watch.seconds


def _load_ours(context: Context, path: Path, *, from_disk: bool = False) -> float:
    context.clear()
    if from_disk:
        _forget(path)
    with Stopwatch() as watch:
        context.load_session(path)
    return watch.seconds


def _load_theirs(
    context: BareContext, path: Path, n_tokens: int, *, from_disk: bool = False
) -> float:
    context.cut(0)
    if from_disk:
        _forget(path)
    with Stopwatch() as watch:
        tokens = context.load(path, n_tokens)
    assert len(tokens) == n_tokens
    return watch.seconds


def _load_unchecked(context: BareContext, path: Path, n_tokens: int) -> float:
    context.cut(0)
    with Stopwatch() as watch:
        data = empty_bytes(path.stat().st_size)
        with path.open("rb", buffering=0) as file:
            file.readinto(data.data)
        context.set_state(data[_BEFORE_STATE + 4 * n_tokens :])
    return watch.seconds


def _forget(path: Path) -> None:
    """Have the system drop its copy of a file that is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _rows(model: Model, kv_cache_type: str, n_tokens: int, rounds: int) -> Iterator[Row]:
    params = ContextParams(n_ctx=n_tokens, kv_cache_type=kv_cache_type)
    tokens = prompt_tokens(model, n_tokens)
    ours, theirs = "save_session", "llama_state_seq_save_file"
    case = f"{n_tokens:,} tokens {kv_cache_type}"
    with (
        tempfile.TemporaryDirectory() as name,
        Context(model, params) as context,
        contextlib.closing(BareContext(model, params)) as bare,
    ):
        folder = Path(name)
        a, b = folder / "ours.session", folder / "theirs.session"
        context.evaluate(tokens)
        n_bytes = context.save_session(a).n_bytes
        bare.load(a, n_tokens)
        result = race(
            {
                ours: lambda: _save_ours(context, a),
                theirs: lambda: _save_theirs(bare, b, tokens),
            },
            rounds,
        )
        megabytes = n_bytes / 1e6
        yield compared(result, f"save {case}", ours, theirs, per_second=megabytes, target=_TARGET)
        ours, theirs, bound = "load_session", "llama_state_seq_load_file", "read, then set"
        ways = {
            ours: lambda: _load_ours(context, a),
            theirs: lambda: _load_theirs(bare, b, n_tokens),
            bound: lambda: _load_unchecked(bare, b, n_tokens),
        }
        result = race(ways, rounds)
        load = f"load {case}"
        yield compared(result, load, ours, theirs, per_second=megabytes, target=_TARGET)
        yield compared(result, f"{load}, {bound}", bound, theirs, per_second=megabytes)
        if hasattr(os, "posix_fadvise"):
            cold = {
                ours: lambda: _load_ours(context, a, from_disk=True),
                theirs: lambda: _load_theirs(bare, b, n_tokens, from_disk=True),
            }
            result = race(cold, rounds)
            load += " from disk"
            yield compared(result, load, ours, theirs, per_second=megabytes, target=_TARGET)


def run(effort: Effort) -> Sequence[Table]:
    """Measure all cases."""
    table = Table(
        "Sessions, MB a second",
        "SmolLM2-135M Q4_1; save ends on disk, load begins in memory if not from disk",
    )
    model = load_model()
    for kv_cache_type in _KV_CACHE_TYPES:
        for n_tokens in map(effort.scaled, _LENGTHS):
            for row in _rows(model, kv_cache_type, n_tokens, 2 * effort.rounds):
                table.add(row)
    return [table]
