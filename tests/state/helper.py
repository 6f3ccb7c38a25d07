"""Contexts of tiny models, with the package and without it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from mullama_nb import Context, ContextParams, Model
from mullama_nb.state.layout import Structure

__all__ = [
    "STRUCTURES",
    "Bare",
    "ModelMaker",
    "bare_context",
    "context_of",
    "greedy",
    "some_tokens",
]

STRUCTURES = {
    "llama": Structure(("kv",)),
    "qwen2vl": Structure(("kv",), extended_cells=True),
    "gemma3": Structure(("kv", "kv")),
    "gemma2": Structure(("kv", "kv")),
    "mamba": Structure(("recurrent",), 4),
    "mamba2": Structure(("recurrent",), 4),
    "lfm2": Structure(("kv", "recurrent"), 2),
    "jamba": Structure(("kv", "recurrent"), 2),
    "lfm2swa": Structure(("kv", "kv", "recurrent"), 2),
}

Bytes = npt.NDArray[np.uint8]
ModelMaker = Callable[..., Model]


def some_tokens(n: int, seed: int = 0) -> list[int]:
    """Tokens of the tiny vocabulary without control tokens."""
    return [int(token) for token in np.random.default_rng(seed).integers(17, 512, n)]


def context_of(model: Model, **changes: Any) -> Context:
    """A small context of one thread."""
    defaults = {"n_ctx": 256, "n_batch": 256, "n_ubatch": 256, "n_threads": 1, "n_parallel": 1}
    return Context(model, ContextParams(**{**defaults, **changes}))


def greedy(context: Context, n: int) -> list[int]:
    """The likeliest tokens from where a context stands."""
    return [token.id for token in context.generate(max_tokens=n, temperature=0).tokens]


class Bare:
    """A llama.cpp context, by llama.cpp's own functions alone."""

    def __init__(self, model: Model, handle: Any) -> None:
        self.handle = handle
        self._memory = llama_cpp.llama_get_memory(handle)
        self._n_vocab = model.n_vocab

    def decode(self, tokens: Sequence[int], start: int = 0, sequence: int = 0) -> Any:
        """Evaluate tokens and return the logits after the last one."""
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, start + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            batch.logits[i] = i == len(tokens) - 1
        status = llama_cpp.llama_decode(self.handle, batch)
        llama_cpp.llama_batch_free(batch)
        assert status == 0
        row = llama_cpp.llama_get_logits_ith(self.handle, len(tokens) - 1)
        return np.ctypeslib.as_array(row, (self._n_vocab,)).copy()

    def greedy(self, logits: Any, n: int, start: int) -> list[int]:
        """The likeliest tokens from some logits on."""
        chosen = []
        for at in range(start, start + n):
            chosen.append(int(logits.argmax()))
            logits = self.decode(chosen[-1:], at)
        return chosen

    def state(self, sequence: int = 0) -> Bytes:
        """What llama.cpp writes for a sequence."""
        size = llama_cpp.llama_state_seq_get_size(self.handle, sequence)
        data = np.empty(size, np.uint8)
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        assert llama_cpp.llama_state_seq_get_data(self.handle, pointer, size, sequence) == size
        return data

    def set_state(self, data: Bytes, sequence: int = 0) -> int:
        """How many bytes llama.cpp took."""
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        return int(llama_cpp.llama_state_seq_set_data(self.handle, pointer, data.size, sequence))

    def range_state(self, start: int, stop: int) -> Bytes:
        """What llama.cpp writes for some positions alone."""
        llama_cpp.llama_memory_seq_cp(self._memory, 0, 1, start, stop)
        data = self.state(1)
        self.remove(1)
        return data

    def remove(self, sequence: int, start: int = -1) -> None:
        """Drop cells of a sequence."""
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def save_file(self, path: Path, tokens: Sequence[int], sequence: int = 0) -> None:
        """Write a session as llama.cpp does."""
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        n = llama_cpp.llama_state_seq_save_file(
            self.handle, str(path).encode(), sequence, array, len(tokens)
        )
        assert n == path.stat().st_size

    def load_file(self, path: Path) -> list[int]:
        """Read a session as llama.cpp does, and return its tokens."""
        array = (llama_cpp.llama_token * 4096)()
        count = ctypes.c_size_t()
        n = llama_cpp.llama_state_seq_load_file(
            self.handle, str(path).encode(), 0, array, 4096, ctypes.byref(count)
        )
        assert n > 0
        return list(array[: count.value])


@contextmanager
def bare_context(
    model: Model,
    *,
    n_ctx: int = 256,
    flash_attention: bool = True,
    kv_type: int = llama_cpp.GGML_TYPE_F16,
    n_sequences: int = 2,
    unified: bool = True,
    swa_full: bool = True,
    n_ubatch: int | None = None,
) -> Iterator[Bare]:
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = n_ctx
    params.n_ubatch = n_ubatch or n_ctx
    params.n_threads = params.n_threads_batch = 1
    params.n_seq_max = n_sequences
    params.kv_unified, params.swa_full = unified, swa_full
    params.type_k = params.type_v = kv_type
    params.flash_attn_type = int(flash_attention)
    handle = llama_cpp.llama_init_from_model(model.handle, params)
    assert handle
    try:
        yield Bare(model, handle)
    finally:
        llama_cpp.llama_free(handle)
