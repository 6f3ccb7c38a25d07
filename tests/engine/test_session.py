"""A session goes on exactly where it was, and one that cannot changes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from state.forge import put_together, take_apart
from state.helper import STRUCTURES, ModelMaker, bare_context, context_of, greedy, some_tokens

from mullama_nb import Context, inspect_session
from mullama_nb.engine.memory import Memory
from mullama_nb.errors import (
    DecodeError,
    InexactWarning,
    MullamaError,
    SessionFormatError,
    SessionMismatchError,
    SessionWriteError,
)
from mullama_nb.state.file import read_session
from mullama_nb.state.layout import HEADER, SequenceState, row_places

ROOT = Path(__file__).parents[2]
N_TOKENS = 50
KINDS = [(name, True) for name in STRUCTURES] + [("llama", False), ("gemma3", False)]
kinds = pytest.mark.parametrize(("architecture", "flash_attention"), KINDS)


def going_on(context: Context) -> tuple[bytes, list[int], bytes]:
    """The logits' bits now, 8 tokens, and the logits' bits behind them."""
    return context.logits.tobytes(), greedy(context, 8), context.logits.tobytes()


class Pair:
    """A context that is to be disturbed, and a twin that is not."""

    def __init__(self, make: Callable[[], Context], n_tokens: int = N_TOKENS) -> None:
        self.context, self.twin = make(), make()
        for context in (self.context, self.twin):
            context.evaluate(some_tokens(n_tokens))

    def refused(self, path: Path, error: type[MullamaError], words: str = "") -> None:
        """Loading is refused, and nothing has happened."""
        with pytest.raises(error, match=words):
            self.context.load_session(path)
        assert self.context.tokens == self.twin.tokens

    def check_and_close(self) -> None:
        assert self.context.tokens == self.twin.tokens
        assert self.context.logits.tobytes() == self.twin.logits.tobytes()
        assert going_on(self.context) == going_on(self.twin)
        assert self.context.tokens == self.twin.tokens
        for context in (self.context, self.twin):
            context.close()


def saved(make: Context, path: Path, n_tokens: int = N_TOKENS, **options: Any) -> Path:
    with make as context:
        context.evaluate(some_tokens(n_tokens, seed=1))
        context.save_session(path, **options)
    return path


# -- going on where it was -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("include_logits", [True, False])
@kinds
def test_a_session_goes_on_to_the_bit(
    tiny: ModelMaker,
    tmp_path: Path,
    architecture: str,
    flash_attention: bool,
    include_logits: bool,
) -> None:
    model = tiny(architecture)
    path, again = tmp_path / "a.session", tmp_path / "b.session"
    with context_of(model, flash_attention=flash_attention) as context:
        context.evaluate(some_tokens(N_TOKENS))
        context.generate(max_tokens=5, temperature=0)
        info = context.save_session(path, include_logits=include_logits)
        tokens, expected = context.tokens, going_on(context)
    with context_of(model, flash_attention=flash_attention, n_ctx=512) as context:
        context.evaluate(some_tokens(70, seed=2))
        assert context.load_session(path) == info
        assert context.tokens == tokens
        context.save_session(again, include_logits=include_logits)
        assert going_on(context) == expected
    first, second = read_session(path), read_session(again)
    assert first.tokens == second.tokens
    assert first.state.tobytes() == second.state.tobytes()
    assert (first.logits is None) == (second.logits is None)
    cuttable = "recurrent" not in STRUCTURES[architecture].blocks
    assert (first.logits is None) == (cuttable and not include_logits)


def test_a_session_from_other_threads_says_so(tiny: ModelMaker, tmp_path: Path) -> None:
    path = saved(context_of(tiny(), n_threads=1, n_threads_batch=2), tmp_path / "a")
    with context_of(tiny()) as context:
        with pytest.warns(InexactWarning, match=r"threads: \[1, 2\] saved, 1 here"):
            context.load_session(path)
        assert context.token_count() == N_TOKENS


# -- what does not fit ---------------------------------------------------------------------------

MISMATCHES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("llama", {"seed": 1}, {}, r"the weights: \w+ saved, \w+ here"),
    (
        "llama",
        {},
        {"kv_cache_type": "q8_0"},
        "the KV cache type: q8_0 saved, f16 here",
    ),
    (
        "llama",
        {},
        {"kv_cache_type": ("f16", "q4_0")},
        "the KV cache type: f16 for K and q4_0 for V saved, f16 here",
    ),
    ("llama", {}, {"flash_attention": False}, "flash attention: off saved, on here"),
    (
        "llama",
        {},
        {"rope_freq_base": 5000.0},
        r"freq_base=5000\.0.* saved, .*freq_base=None.* here",
    ),
    ("llama", {"n_layer": 3}, {}, "the weights"),
    ("gemma3", {}, {}, "the architecture: gemma3 saved, llama here"),
    ("mamba", {}, {}, "the architecture: mamba saved, llama here"),
    ("lfm2", {}, {}, "the architecture: lfm2 saved, llama here"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "model", "params", "words"), MISMATCHES)
def test_what_was_saved_otherwise_is_refused(
    tiny: ModelMaker,
    tmp_path: Path,
    architecture: str,
    model: dict[str, Any],
    params: dict[str, Any],
    words: str,
) -> None:
    other = tiny(architecture, head_dim=32, **model)
    path = saved(context_of(other, **params), tmp_path / "a.session")
    pair = Pair(lambda: context_of(tiny(head_dim=32)))
    pair.refused(path, SessionMismatchError, words)
    pair.refused(path, SessionMismatchError, r"a\.session was saved from 'tiny-\d+'")
    pair.check_and_close()


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "lfm2", "mamba"])
def test_weights_of_equal_shapes_are_told_apart(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    path = saved(context_of(tiny(architecture, seed=1)), tmp_path / "a.session")
    pair = Pair(lambda: context_of(tiny(architecture)))
    prints = [tiny(architecture, seed=seed).fingerprint for seed in (1, 0)]
    pair.refused(path, SessionMismatchError, "weights: {} saved, {} here".format(*prints))
    pair.check_and_close()


def test_more_tokens_than_cells_are_refused(tiny: ModelMaker, tmp_path: Path) -> None:
    path = saved(context_of(tiny(), n_ctx=512), tmp_path / "a.session", n_tokens=300)
    pair = Pair(lambda: context_of(tiny()))
    words = "holds 300 tokens and this context has 256 cells; make one with n_ctx=300"
    pair.refused(path, SessionMismatchError, words)
    pair.check_and_close()
    with context_of(tiny(), n_ctx=512) as context:
        context.load_session(path)
        assert context.token_count() == 300


@pytest.mark.parametrize("token", [512, 2**31 - 1, -1, -(2**31)])
def test_tokens_that_the_vocabulary_has_not_are_refused(
    tiny: ModelMaker, tmp_path: Path, token: int
) -> None:
    path = saved(context_of(tiny()), tmp_path / "a.session")
    parts = take_apart(path.read_bytes())
    for trailer in (True, False):
        tokens = (*parts.tokens[:20], token, *parts.tokens[21:])
        state = parts.state if trailer else unmarked(parts.state, 50)
        forged = replace(parts, tokens=tokens, state=state)
        path.write_bytes(put_together(forged, trailer=trailer))
        pair = Pair(lambda: context_of(tiny()))
        pair.refused(path, SessionMismatchError, f"token {token}, .* vocabulary of 512")
        pair.check_and_close()


def unmarked(state: bytes, n_cells: int) -> bytes:
    """A plain state as llama.cpp writes it."""
    data = bytearray(state)
    for cell in range(n_cells):
        data[8 + 12 * cell + 8 : 8 + 12 * cell + 12] = bytes(4)
    return bytes(data)


FOREIGN_MISMATCHES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"kv_type": 8}, "tensor 0 in q8_0 with 68 .* against f16 with 128"),
    ({}, {"flash_attention": False}, "flash attention off against on"),
    ({"n_layer": 3}, {}, "6 cached tensors against 8"),
]


@pytest.mark.parametrize(("model", "params", "words"), FOREIGN_MISMATCHES)
def test_a_file_of_llama_cpp_that_does_not_fit_is_refused(
    tiny: ModelMaker, tmp_path: Path, model: dict[str, Any], params: dict[str, Any], words: str
) -> None:
    path = tmp_path / "slot.bin"
    with bare_context(tiny(head_dim=32, **model), **params) as bare:
        bare.decode(some_tokens(20))
        bare.save_file(path, some_tokens(20))
    pair = Pair(lambda: context_of(tiny(head_dim=32)))
    pair.refused(path, SessionMismatchError, words)
    pair.check_and_close()


# -- what llama.cpp refuses ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("n_missing", [0, 1, 600])
@kinds
def test_what_llama_cpp_refuses_leaves_the_old_state(
    tiny: ModelMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    flash_attention: bool,
    n_missing: int,
) -> None:
    """Should its rules be others than ours: real refusals, of a state that lacks its end."""
    model = tiny(architecture)
    path = saved(context_of(model, flash_attention=flash_attention), tmp_path / "a.session")
    write, n_calls = Memory._write, 0

    def once(self: Memory, data: Any, sequence: int) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls > 1:
            write(self, data, sequence)
        elif n_missing:
            write(self, data[:-n_missing].copy(), sequence)
        else:
            raise DecodeError("llama.cpp took 0 bytes of state")

    pair = Pair(lambda: context_of(model, flash_attention=flash_attention))
    monkeypatch.setattr(Memory, "_write", once)
    with pytest.raises(MullamaError):
        pair.context.load_session(path)
    assert n_calls > 1
    pair.check_and_close()


def test_what_llama_cpp_refuses_leaves_an_empty_context_empty(
    tiny: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(context_of(tiny()), tmp_path / "a.session")

    def refuse(*_: Any) -> None:
        raise DecodeError("no")

    with context_of(tiny()) as context, context_of(tiny()) as twin:
        with monkeypatch.context() as patch:
            patch.setattr(Memory, "replace", refuse)
            with pytest.raises(MullamaError):
                context.load_session(path)
        assert context.tokens == ()
        for each in (context, twin):
            each.evaluate(some_tokens(20))
        assert going_on(context) == going_on(twin)


@pytest.mark.skipif(sys.platform == "win32", reason="a limit of POSIX")
@pytest.mark.parametrize("architecture", ["llama", "mamba"])
def test_a_save_that_finds_no_room_leaves_the_old_session(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    import resource

    path = saved(context_of(tiny(architecture)), tmp_path / "a.session")
    before = path.read_bytes()
    with context_of(tiny(architecture)) as context, context_of(tiny(architecture)) as twin:
        for each in (context, twin):
            each.evaluate(some_tokens(80))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
        try:
            with pytest.raises(SessionWriteError, match=r"File too large.*intact; free some space"):
                context.save_session(path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [file.name for file in tmp_path.iterdir()] == ["a.session"]
        assert path.read_bytes() == before
        assert going_on(context) == going_on(twin)
        context.load_session(path)
        assert context.token_count() == N_TOKENS


# -- numbers that are none -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "lfm2", "mamba"])
def test_a_valid_checksum_over_no_numbers_is_refused(
    tiny: ModelMaker, tmp_path: Path, architecture: str, bad: float
) -> None:
    path = saved(context_of(tiny(architecture)), tmp_path / "a.session")
    parts = take_apart(path.read_bytes())
    recurrent = architecture in {"lfm2", "mamba"}
    number = np.float32(bad).tobytes() if recurrent else np.float16(bad).tobytes()
    pair = Pair(lambda: context_of(tiny(architecture)))
    end_of_r = {"lfm2": 2 * 12, "mamba": 0}.get(architecture, 0)  # S has rows of 0 bytes in lfm2
    at = len(parts.state) - end_of_r - len(number)
    path.write_bytes(put_together(parts.with_state(at, number)))
    pair.refused(path, SessionFormatError, "not finite")

    logits = np.float32(bad).tobytes()
    path.write_bytes(put_together(replace(parts, logits=logits + parts.logits[4:])))
    pair.refused(path, SessionFormatError, "not finite")
    pair.check_and_close()


@kinds
def test_numbers_are_looked_at_while_the_file_is_read(
    tiny: ModelMaker, tmp_path: Path, architecture: str, flash_attention: bool
) -> None:
    """Where the rows lie is known beforehand, so they are not passed through again."""
    context = context_of(tiny(architecture), flash_attention=flash_attention)
    structure, shape = context.layout
    path = saved(context, tmp_path / "a.session", N_TOKENS)
    honest = read_session(path, partial(row_places, structure, shape))
    assert honest.finite == SequenceState(honest.state, structure).row_places
    parts = take_apart(path.read_bytes())
    start, _, kind = next(place for place in honest.finite if place.stop > place.start)
    number = np.full(1, np.nan, np.float16 if kind else np.float32).tobytes()
    path.write_bytes(put_together(parts.with_state(start - len(HEADER), number)))
    assert read_session(path, partial(row_places, structure, shape)).finite == ()


def test_saving_loading_and_inspecting_say_the_same(tiny: ModelMaker, tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    with context_of(tiny("llama")) as context:
        context.evaluate(some_tokens(9))
        saved_info = context.save_session(path)
        inspected = inspect_session(path)
        assert saved_info == context.load_session(path) == inspected
        assert list(saved_info.settings) == list(inspected.settings)
        assert list(saved_info.environment) == list(inspected.environment)


@pytest.mark.slow
def test_a_state_that_is_saved_lies_as_it_will_in_the_file(tiny: ModelMaker) -> None:
    """To copy to a page from a place a few bytes before one would take twice the time."""
    model = tiny("llama", n_layer=8, head_dim=128)
    with context_of(model, n_ctx=300) as context:
        for n_tokens in (255, 256, 257):
            context.evaluate(some_tokens(n_tokens - context.token_count()))
            state = context._scheduler.path.whole_state().data
            assert state.size > 1 << 20
            assert (state.ctypes.data + len(HEADER) - 12 - 4 * n_tokens) % 4096 == 0


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "lfm2", "jamba", "mamba", "mamba2"])
def test_numbers_that_overflow_later_end_with_the_session(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    """A forged file may hold what is finite and too large to go on with; it is harmless, too."""
    path = saved(context_of(tiny(architecture)), tmp_path / "a.session")
    parts = take_apart(path.read_bytes())
    data = np.frombuffer(HEADER + parts.state, np.uint8).copy()
    for block in SequenceState(data, STRUCTURES[architecture]).blocks:
        for tensor, offset in zip(block.tensors, block.offsets, strict=True):
            rows = data[offset : offset + tensor.row_bytes * block.n_cells]
            if block.kind == "kv":
                rows.view(np.float16)[:] = 65504
            else:
                rows.view(np.float32)[:] = 3e38
    path.write_bytes(put_together(replace(parts, state=data[len(HEADER) :].tobytes())))
    with context_of(tiny(architecture)) as context, context_of(tiny(architecture)) as twin:
        context.load_session(path)
        context.generate(max_tokens=4, temperature=0)
        assert not np.isfinite(context.logits).all()
        context.clear()
        for each in (context, twin):
            each.evaluate(some_tokens(80))
        assert going_on(context) == going_on(twin)


@pytest.mark.parametrize("architecture", ["mamba", "lfm2"])
def test_recurrent_memory_without_logits_is_refused(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    path = saved(context_of(tiny(architecture)), tmp_path / "a.session")
    parts = take_apart(path.read_bytes())
    path.write_bytes(put_together(replace(parts, logits=b"")))
    pair = Pair(lambda: context_of(tiny(architecture)))
    pair.refused(path, SessionFormatError, "has no logits")
    pair.check_and_close()


def test_logits_of_another_vocabulary_are_refused(tiny: ModelMaker, tmp_path: Path) -> None:
    path = saved(context_of(tiny()), tmp_path / "a.session")
    parts = take_apart(path.read_bytes())
    path.write_bytes(put_together(replace(parts, logits=parts.logits[4:])))
    pair = Pair(lambda: context_of(tiny()))
    pair.refused(path, SessionFormatError, "511 logits for a vocabulary of 512")
    pair.check_and_close()


# -- everything at once --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sample_of_the_fuzzer() -> None:
    """Every family of damage on every kind of memory; ``python -m benchmarks.fuzz`` has more."""
    command = [sys.executable, "-m", "benchmarks.fuzz", "480", "--seed", "1"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    total = process.stdout.split("\nall ")[1].split()
    cases, refused, harmless, wrong, crashes = map(int, total[:5])
    assert (cases, wrong, crashes) == (480, 0, 0)
    assert cases == refused + harmless
    assert min(refused, harmless) > 50
