"""llama.cpp with nothing around it: what there is to be measured against."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from mullama_nb import ContextParams, Model, SamplingParams
from mullama_nb.state.layout import HEADER

__all__ = [
    "BareContext",
    "make_llama",
    "next_logits",
    "prompt_text",
    "prompt_tokens",
    "sampler_chain",
    "sequence_state",
]

_TEXT = """The lighthouse keeper wrote down every ship that passed: its flag, its course, and the
hour. In winter there were days with none, and on those he described the sea instead, which was
never the same colour twice. When he retired, the harbour office found forty volumes. Nobody had
asked him to write them, and nobody could find a mistake in them. """


def prompt_tokens(model: Model, n_tokens: int, start: int = 0) -> list[int]:
    """So many tokens of a text, another one for each ``start``."""
    tokens = model.tokenize(_TEXT)
    return [tokens[(start + i + i // len(tokens)) % len(tokens)] for i in range(n_tokens)]


def prompt_text(model: Model, n_tokens: int) -> str:
    """A text that is read as so many tokens."""
    n_each = len(model.tokenize(_TEXT))
    tokens = model.tokenize(_TEXT * (1 + n_tokens // n_each))
    text = model.detokenize(tokens[:n_tokens])
    if len(model.tokenize(text)) != n_tokens:
        raise RuntimeError(f"the text cannot be cut behind {n_tokens} tokens: take another number")
    return text


class BareContext:
    """llama.cpp's context as ``Context`` makes it, without the callback that stops a decode.

    Parameters
    ----------
    model : Model
    params : ContextParams
    """

    def __init__(self, model: Model, params: ContextParams) -> None:
        self._model = model  # the weights live as long as it
        c = llama_cpp.llama_context_default_params()
        # llama.cpp ends the process where cells, and with them a batch, are fewer than sequences.
        c.n_ctx = max(params.n_ctx, 1 + params.n_parallel) if params.n_ctx else 0
        c.n_batch, c.n_ubatch = params.n_batch, params.n_ubatch
        c.n_seq_max = 1 + params.n_parallel
        c.n_threads, c.n_threads_batch = params.threads
        c.type_k, c.type_v = params.type_k.ggml_type, params.type_v.ggml_type
        c.flash_attn_type = 1 if params.flash_attention else 0
        c.kv_unified = c.swa_full = c.no_perf = True
        self.handle: Any = llama_cpp.llama_init_from_model(model.handle, c)
        self._memory = llama_cpp.llama_get_memory(self.handle)
        self._one = (llama_cpp.llama_token * 1)()

    def decode(self, tokens: Sequence[int]) -> None:
        """Evaluate tokens in one batch, behind what there is."""
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        status = llama_cpp.llama_decode(
            self.handle, llama_cpp.llama_batch_get_one(array, len(tokens))
        )
        if status:
            raise RuntimeError(f"llama_decode returned {status}")

    def generate(self, chain: Any, n_tokens: int) -> list[int]:
        """The shortest loop there is: sample, decode, again."""
        handle, one, chosen = self.handle, self._one, []
        batch = llama_cpp.llama_batch_get_one(one, 1)
        for _ in range(n_tokens):
            one[0] = llama_cpp.llama_sampler_sample(chain, handle, -1)
            chosen.append(one[0])
            llama_cpp.llama_decode(handle, batch)
        return chosen

    def cut(self, n_tokens: int) -> None:
        """Keep the first ``n_tokens``."""
        llama_cpp.llama_memory_seq_rm(self._memory, 0, n_tokens, -1)

    @property
    def n_tokens(self) -> int:
        """How many tokens the sequence has."""
        return int(llama_cpp.llama_memory_seq_pos_max(self._memory, 0)) + 1

    @property
    def state(self) -> bytes:
        """The sequence's state."""
        return sequence_state(self.handle)

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """Logits of the next token; a copy."""
        return next_logits(self.handle, self._model.n_vocab)

    def save(self, path: Path, tokens: Sequence[int]) -> None:
        """``llama_state_seq_save_file``."""
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        if not llama_cpp.llama_state_seq_save_file(
            self.handle, os.fsencode(path), 0, array, len(tokens)
        ):
            raise RuntimeError("llama_state_seq_save_file failed")

    def load(self, path: Path, capacity: int) -> list[int]:
        """``llama_state_seq_load_file``; no tokens where it refuses."""
        array, count = (llama_cpp.llama_token * capacity)(), ctypes.c_size_t()
        if not llama_cpp.llama_state_seq_load_file(
            self.handle, os.fsencode(path), 0, array, capacity, ctypes.byref(count)
        ):
            return []
        return array[: count.value]

    def set_state(self, data: npt.NDArray[np.uint8]) -> None:
        """``llama_state_seq_set_data``; the state's header is written over its first bytes."""
        data[: len(HEADER)] = np.frombuffer(HEADER, np.uint8)
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        if not llama_cpp.llama_state_seq_set_data(self.handle, pointer, data.size, 0):
            raise RuntimeError("llama_state_seq_set_data failed")

    def close(self) -> None:
        """Free the cells."""
        llama_cpp.llama_free(self.handle)


def sampler_chain(sampling: SamplingParams) -> Any:
    """llama.cpp's chain of the same samplers that ``SamplingParams`` names by default."""
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    add = llama_cpp.llama_sampler_chain_add
    if sampling.temperature == 0:
        add(chain, llama_cpp.llama_sampler_init_greedy())
        return chain
    add(chain, llama_cpp.llama_sampler_init_top_k(sampling.top_k))
    add(chain, llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
    add(chain, llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
    add(chain, llama_cpp.llama_sampler_init_temp(sampling.temperature))
    add(chain, llama_cpp.llama_sampler_init_dist((sampling.seed or 0) % 2**32))
    return chain


def next_logits(handle: Any, n_vocab: int) -> npt.NDArray[np.float32]:
    """The logits of the last decode; a copy."""
    pointer = llama_cpp.llama_get_logits_ith(handle, -1)
    return np.ctypeslib.as_array(pointer, shape=(n_vocab,)).copy()


def sequence_state(handle: Any) -> bytes:
    """The state of a context's first sequence."""
    buffer = (ctypes.c_uint8 * llama_cpp.llama_state_seq_get_size(handle, 0))()
    llama_cpp.llama_state_seq_get_data(handle, buffer, len(buffer), 0)
    return bytes(buffer)


def make_llama(model: Model, params: ContextParams) -> llama_cpp.Llama:
    """llama-cpp-python's own ``Llama`` with the same model, cells and threads.

    Its batches are of its own default size, 512 tokens: a state that it saves has a row of logits
    for each token of one.
    """
    n_threads, n_threads_batch = params.threads
    return llama_cpp.Llama(
        str(model.path),
        n_ctx=params.n_ctx or 0,
        n_threads=n_threads,
        n_threads_batch=n_threads_batch,
        flash_attn=params.flash_attention,
        type_k=params.type_k.ggml_type,
        type_v=params.type_v.ggml_type,
        seed=0,
        verbose=False,
    )
