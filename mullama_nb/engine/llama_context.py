"""Creating llama.cpp's context, with the reason for every failure in words."""

from __future__ import annotations

from typing import Any

import llama_cpp

from .. import machine
from ..errors import ContextError, ParameterError, ParameterWarning, shown
from . import native
from .decoder import MOST_OUTPUTS
from .memory import n_sequences
from .model import Model
from .params import ContextParams
from .warn import warn

__all__ = ["bytes_per_cell", "head_sizes", "kv_heads", "make_llama_context", "metadata_number"]


def metadata_number(model: Model, key: str, default: int = 0) -> int:
    """Return a number under the architecture's own keys; the default if there is none."""
    text = model.metadata.get(f"{model.architecture}.{key}", "")
    return int(text) if text.isdigit() else default


def head_sizes(model: Model) -> tuple[int, int]:
    """Return the sizes of one K head and of one V head, in values."""
    n_head = metadata_number(model, "attention.head_count")
    size = metadata_number(model, "embedding_length") // n_head if n_head else 0
    return (
        metadata_number(model, "attention.key_length", size),
        metadata_number(model, "attention.value_length", size),
    )


def kv_heads(model: Model) -> tuple[int, ...]:
    """Return the number of KV heads of each layer; empty if the file does not say."""
    n_layer = metadata_number(model, "block_count")
    # llama.cpp tells of no arrays, so the file is asked.
    heads = model.file.metadata.get(f"{model.architecture}.attention.head_count_kv")
    if isinstance(heads, list):
        return tuple(int(n) for n in heads)
    if not isinstance(heads, int):
        heads = metadata_number(model, "attention.head_count")
    return (heads,) * n_layer


def bytes_per_cell(model: Model, params: ContextParams) -> int:
    """Return the bytes of K and V per cell, as far as the metadata tell."""
    k, v = head_sizes(model)
    return sum(kv_heads(model)) * (params.type_k.row_bytes(k) + params.type_v.row_bytes(v))


def _check_head_sizes(model: Model, params: ContextParams) -> None:
    """Check that heads fill whole blocks of the KV cache types.

    Raises
    ------
    ParameterError
        When they do not; llama.cpp would refuse the context without saying which and why.
    """
    for part, kv_type, size in zip(
        "KV", (params.type_k, params.type_v), head_sizes(model), strict=True
    ):
        if size % kv_type.block:
            raise ParameterError(
                f"{kv_type.name} keeps {kv_type.block} values in a block, and the {part} heads of "
                f"{model.name!r} have {size}: use f16, bf16 or f32 for {part}"
            )


def _check_context_size(model: Model, params: ContextParams, n_ctx: int) -> None:
    trained = model.n_ctx_train
    scaled = params.rope_scaling or params.rope_freq_base or params.rope_freq_scale
    if n_ctx > trained and not scaled:
        warn(
            f"n_ctx={n_ctx:,} is more than the {trained:,} tokens that {model.name!r} was trained "
            "with: what it says beyond them will make no sense. Use rope_scaling='yarn', or fewer",
            ParameterWarning,
        )
    a_token = bytes_per_cell(model, params)
    memory = machine.here.memory.total
    if a_token * n_ctx > memory and not llama_cpp.llama_supports_gpu_offload():
        raise ParameterError(
            f"a KV cache of n_ctx={n_ctx:,} tokens would take {a_token * n_ctx / 1e9:,.1f} GB, and "
            f"{memory / 1e9:,.1f} GB may be used here: use a smaller n_ctx, or q8_0 or q4_0"
        )


def make_llama_context(
    model: Model, params: ContextParams, n_ctx: int, *, verbose: bool, callback: Any = None
) -> Any:
    """Make llama.cpp's context; the caller frees it.

    Parameters
    ----------
    model : Model
    params : ContextParams
    n_ctx : int
        Cells.
    verbose : bool
    callback : ggml_backend_sched_eval_callback, optional
        Called with each node of a graph. A context with one is a second one beside another, of
        which everything was checked and said.

    Raises
    ------
    ParameterError
        When model and parameters do not fit together.
    ContextError
        When llama.cpp fails for another reason.
    """
    if callback is None:
        _check_head_sizes(model, params)
        _check_context_size(model, params, n_ctx)
    c = llama_cpp.llama_context_default_params()
    c.n_ctx = n_ctx
    c.n_batch, c.n_ubatch = params.n_batch, params.n_ubatch
    c.n_seq_max = n_sequences(model, params.n_parallel)
    # llama.cpp reserves logits for every sequence, and aborts where that is more than this.
    c.n_outputs_max = c.n_outputs_max_per_seq = max(MOST_OUTPUTS, c.n_seq_max)
    c.n_threads, c.n_threads_batch = params.threads
    c.type_k, c.type_v = params.type_k.ggml_type, params.type_v.ggml_type
    c.flash_attn_type = 1 if params.flash_attention else 0
    c.rope_scaling_type = params.rope_scaling_type
    c.rope_freq_base = params.rope_freq_base or 0.0
    c.rope_freq_scale = params.rope_freq_scale or 0.0
    c.yarn_orig_ctx = params.yarn_orig_ctx or 0
    c.kv_unified = c.swa_full = c.no_perf = True
    if callback is not None:
        c.cb_eval = callback
    with model.loras.lock, native.captured_log(verbose=verbose) as complaints:
        handle = llama_cpp.llama_init_from_model(model.handle, c)
    if not handle:
        raise ContextError(
            f"llama.cpp cannot make a context of {n_ctx:,} tokens for {model.name!r}: "
            f"{shown('; '.join(complaints), 500) or 'no reason given, probably too little memory'}"
        )
    return handle
