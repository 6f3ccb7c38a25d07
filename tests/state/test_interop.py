"""Our files are llama.cpp's files, and llama.cpp's files are read with a word of caution."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from state.forge import Parts, put_together, take_apart
from state.helper import STRUCTURES, ModelMaker, bare_context, context_of, greedy, some_tokens

from mullama_nb.errors import InexactWarning, SessionFormatError, UnverifiedWarning
from mullama_nb.state.layout import SequenceState

N_TOKENS = 60  # more than a window
N_MORE = 16
TRANSFORMERS = ["llama", "qwen2vl", "gemma3", "gemma2"]
WINDOWED = ["gemma3", "gemma2"]
RECURRENT = ["mamba", "mamba2", "lfm2", "jamba", "lfm2swa"]
KV_TYPES = [("f16", llama_cpp.GGML_TYPE_F16), ("q8_0", llama_cpp.GGML_TYPE_Q8_0)]

not_verified = pytest.mark.filterwarnings("ignore::mullama_nb.errors.UnverifiedWarning")


# -- ours, read by llama.cpp ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("include_logits", [True, False])
@pytest.mark.parametrize(("kv_type", "ggml_type"), KV_TYPES)
@pytest.mark.parametrize("architecture", TRANSFORMERS)
def test_llama_cpp_goes_on_where_a_session_was(
    tiny: ModelMaker,
    tmp_path: Path,
    architecture: str,
    kv_type: str,
    ggml_type: int,
    include_logits: bool,
) -> None:
    model = tiny(architecture, head_dim=32)
    path = tmp_path / "a.session"
    with context_of(model, kv_cache_type=kv_type) as context:
        context.evaluate(some_tokens(N_TOKENS))
        context.save_session(path, include_logits=include_logits)
        expected = context.logits
        answer = greedy(context, N_MORE)
    with bare_context(model, kv_type=ggml_type) as bare:
        tokens = bare.load_file(path)
        assert tokens == some_tokens(N_TOKENS)
        # llama.cpp keeps no logits: whoever loads decodes the last token again.
        bare.remove(0, N_TOKENS - 1)
        logits = bare.decode(tokens[-1:], N_TOKENS - 1)
        assert logits.tobytes() == expected.tobytes()
        assert bare.greedy(logits, N_MORE, N_TOKENS) == answer


@pytest.mark.parametrize("architecture", RECURRENT)
def test_llama_cpp_goes_on_where_recurrent_memory_was(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    path = tmp_path / "a.session"
    with context_of(tiny(architecture)) as context:
        context.evaluate(some_tokens(N_TOKENS))
        context.save_session(path)
        logits = context.logits
        answer = greedy(context, N_MORE)
    with bare_context(tiny(architecture)) as bare:
        assert bare.load_file(path) == some_tokens(N_TOKENS)
        assert bare.greedy(logits, N_MORE, N_TOKENS) == answer


@pytest.mark.parametrize("architecture", [*WINDOWED, "lfm2swa"])
def test_a_small_window_of_llama_cpp_takes_the_windows_rows_only(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    """As a llama-server has it without ``--swa-full``."""
    model, tokens, sizes = tiny(architecture), some_tokens(700), {"n_ctx": 1024, "n_ubatch": 32}
    with context_of(model, n_batch=1024, **sizes) as context:
        context.evaluate(tokens)
        everything = context.save_session(tmp_path / "all")
        exported = context.save_session(tmp_path / "window", window_only=True)
        logits, answer = context.logits, greedy(context, N_MORE)
    assert exported.n_bytes < everything.n_bytes - 500 * 64
    with bare_context(model, swa_full=False, **sizes) as bare:
        with pytest.raises(AssertionError):
            bare.load_file(tmp_path / "all")
        assert bare.load_file(tmp_path / "window") == tokens
        assert bare.greedy(logits, N_MORE, 700) == answer
    with context_of(model, n_batch=1024, **sizes) as context:
        with pytest.warns(InexactWarning, match="window holds only the last rows"):
            context.load_session(tmp_path / "window")
        np.testing.assert_allclose(context.logits, logits, atol=1e-3)
        assert greedy(context, N_MORE) == answer


# -- llama.cpp's, read by us ---------------------------------------------------------------------


@pytest.mark.parametrize("flash_attention", [True, False])
@pytest.mark.parametrize("architecture", TRANSFORMERS)
def test_a_file_of_llama_cpp_goes_on(
    tiny: ModelMaker, tmp_path: Path, architecture: str, flash_attention: bool
) -> None:
    path = tmp_path / "slot.bin"
    tokens = some_tokens(N_TOKENS)
    with bare_context(tiny(architecture), flash_attention=flash_attention) as bare:
        bare.decode(tokens[:-1])
        logits = bare.decode(tokens[-1:], N_TOKENS - 1)
        bare.save_file(path, tokens)
        answer = bare.greedy(logits, N_MORE, N_TOKENS)
    with context_of(tiny(architecture), flash_attention=flash_attention) as context:
        context.evaluate(some_tokens(10, seed=1))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            info = context.load_session(path)
        kinds = [UnverifiedWarning]
        if architecture in WINDOWED:
            kinds.append(InexactWarning)  # llama.cpp writes a window's last rows only
        assert [warning.category for warning in said] == kinds
        assert "slot.bin was not written by mullama_nb" in str(said[0].message)
        assert (info.n_tokens, info.is_verified) == (N_TOKENS, False)
        assert context.tokens == tuple(tokens)
        assert context.logits.tobytes() == logits.tobytes()
        assert greedy(context, N_MORE) == answer


@not_verified
@pytest.mark.parametrize("architecture", ["gemma3", "gemma2"])
def test_a_window_that_was_cut_is_not_gone_back_into(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    """llama.cpp saves a window's last rows only: what is in front is evaluated again."""
    path = tmp_path / "slot.bin"
    tokens = some_tokens(N_TOKENS)
    with bare_context(tiny(architecture)) as bare:
        bare.decode(tokens)
        bare.save_file(path, tokens)
    with context_of(tiny(architecture)) as context:
        with pytest.warns(InexactWarning, match="only the last rows"):
            context.load_session(path)
        with pytest.warns(InexactWarning, match="evaluated again"):
            context.rewind(40)
        rewound = greedy(context, N_MORE)
        context.clear()
        context.evaluate(tokens[:40])
        assert greedy(context, N_MORE) == rewound


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mullama_nb.errors.InexactWarning")
@not_verified
@pytest.mark.parametrize("flash_attention", [True, False])
@pytest.mark.parametrize(("slot", "n_slots"), [(0, 2), (1, 2), (2, 4)])
@pytest.mark.parametrize("architecture", TRANSFORMERS)
def test_a_slot_of_a_server_with_split_caches_goes_on(
    tiny: ModelMaker,
    tmp_path: Path,
    architecture: str,
    slot: int,
    n_slots: int,
    flash_attention: bool,
) -> None:
    """As ``llama-server -np 2`` writes it: a stream for each slot, the others empty."""
    path, tokens = tmp_path / "slot.bin", some_tokens(N_TOKENS)
    make = bare_context(
        tiny(architecture),
        n_ctx=256 * n_slots,
        n_sequences=n_slots,
        unified=False,
        flash_attention=flash_attention,
    )
    with make as bare:
        for other in range(n_slots):  # they have conversations of their own
            if other != slot:
                bare.decode(some_tokens(20 + other, seed=other + 5), sequence=other)
        bare.decode(tokens[:-1], sequence=slot)
        logits = bare.decode(tokens[-1:], N_TOKENS - 1, sequence=slot)
        bare.save_file(path, tokens, slot)
    with context_of(tiny(architecture), flash_attention=flash_attention) as context:
        assert context.load_session(path).n_tokens == N_TOKENS
        np.testing.assert_allclose(context.logits, logits, atol=1e-3)
        context.save_session(tmp_path / "ours")
        answer = greedy(context, N_MORE)
    with context_of(tiny(architecture), flash_attention=flash_attention) as context:
        context.load_session(tmp_path / "ours")
        assert greedy(context, N_MORE) == answer


def test_two_conversations_in_one_file_are_refused(tiny: ModelMaker, tmp_path: Path) -> None:
    path = tmp_path / "slot.bin"
    with bare_context(tiny(), n_ctx=512, unified=False) as bare:
        for slot in (0, 1):
            bare.decode(some_tokens(20, seed=slot), sequence=slot)
        bare.save_file(path, some_tokens(20))
        other = bare.state(1)[8:].tobytes()  # 2 streams, the first one empty
    parts = Parts(some_tokens(20), path.read_bytes()[12 + 4 * 20 :])
    both = replace(parts, state=parts.state[:-4] + other[8:])
    path.write_bytes(put_together(both, trailer=False))
    with (
        context_of(tiny()) as context,
        pytest.raises(SessionFormatError, match="cells of one sequence in two streams"),
    ):
        context.load_session(path)
    for streams in (0, 3, 257, 2**32 - 1):
        state = streams.to_bytes(4, "little") + parts.state[4:]
        path.write_bytes(put_together(replace(parts, state=state), trailer=False))
        with context_of(tiny()) as context, pytest.raises(SessionFormatError):
            context.load_session(path)


@pytest.mark.parametrize("architecture", RECURRENT)
def test_recurrent_memory_of_llama_cpp_is_refused_in_words(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    path = tmp_path / "slot.bin"
    with bare_context(tiny(architecture)) as bare:
        bare.decode(some_tokens(20))
        bare.save_file(path, some_tokens(20))
    with context_of(tiny(architecture)) as context:
        context.evaluate(some_tokens(5))
        with pytest.raises(SessionFormatError, match="no trailer and so no logits"):
            context.load_session(path)
        assert context.token_count() == 5


@not_verified
def test_the_packed_tokens_of_llama_server_are_read(tiny: ModelMaker, tmp_path: Path) -> None:
    path = tmp_path / "slot.bin"
    tokens = some_tokens(20)
    with bare_context(tiny()) as bare:
        bare.decode(tokens)
        bare.save_file(path, [-1, 1, 20, *tokens, 0])
    with context_of(tiny()) as context:
        assert context.load_session(path).n_tokens == 20
        assert context.tokens == tuple(tokens)
        context.generate(max_tokens=1)


@not_verified
@pytest.mark.parametrize("architecture", ["llama", "qwen2vl", "gemma3"])
def test_cells_that_were_used_again_are_put_in_order(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    path = tmp_path / "slot.bin"
    tokens = some_tokens(30)
    with bare_context(tiny(architecture)) as bare:
        bare.decode(some_tokens(8, seed=1), sequence=1)
        bare.decode(tokens[:10])
        bare.remove(1)
        bare.decode(tokens[10:20], 10)
        logits = bare.decode(tokens[20:], 20)
        assert not SequenceState(bare.state(), STRUCTURES[architecture]).is_sorted()
        bare.save_file(path, tokens)
        answer = bare.greedy(logits, N_MORE, 30)
    with context_of(tiny(architecture)) as context:
        context.load_session(path)
        state = SequenceState(context.capture(0).data, STRUCTURES[architecture])
        assert state.is_sorted()
        assert greedy(context, N_MORE) == answer


# -- what a file of llama.cpp must not be --------------------------------------------------------


def test_a_part_of_a_conversation_is_refused(tiny: ModelMaker, tmp_path: Path) -> None:
    """llama.cpp would take a delta of tokens 10 to 29 for a conversation of 20."""
    path = tmp_path / "slot.bin"
    tokens = some_tokens(30)
    with bare_context(tiny()) as bare:
        bare.decode(tokens)
        part = bare.range_state(10, 30)[8:].tobytes()
    with context_of(tiny()) as context:
        for stored in (tokens[10:], tokens):
            path.write_bytes(put_together(Parts(tuple(stored), part), trailer=False))
            with pytest.raises(SessionFormatError, match="a part of a conversation"):
                context.load_session(path)


def test_a_file_that_holds_nothing_is_refused(tiny: ModelMaker, tmp_path: Path) -> None:
    path = tmp_path / "slot.bin"
    with bare_context(tiny()) as bare:
        bare.save_file(path, [])
    with context_of(tiny()) as context, pytest.raises(SessionFormatError, match="no tokens"):
        context.load_session(path)


@pytest.mark.parametrize("architecture", ["gemma3", "mamba", "qwen2vl"])
def test_a_file_of_another_architecture_is_refused(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    path = tmp_path / "slot.bin"
    with bare_context(tiny(architecture)) as bare:
        bare.decode(some_tokens(20))
        bare.save_file(path, some_tokens(20))
    with (
        context_of(tiny()) as context,
        pytest.raises(SessionFormatError, match="saved with another model"),
    ):
        context.load_session(path)


def test_tokens_that_are_not_those_of_the_cells_are_refused(
    tiny: ModelMaker, tmp_path: Path
) -> None:
    """Where cells name their tokens, a list that was exchanged is found, checksum or not."""
    path = tmp_path / "a.session"
    with context_of(tiny("qwen2vl")) as context:
        context.evaluate(some_tokens(20))
        context.save_session(path)
        parts = take_apart(path.read_bytes())
        path.write_bytes(put_together(replace(parts, tokens=tuple(some_tokens(20, seed=1)))))
        with pytest.raises(SessionFormatError, match="the cell of position 0 holds token"):
            context.load_session(path)
        assert context.tokens == tuple(some_tokens(20))
