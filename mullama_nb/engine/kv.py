"""Bytes per token, context and session, computed before anything is allocated."""

from __future__ import annotations

from ..errors import ParameterError
from ..state.file import session_bytes
from ..state.layout import Shape, Structure, Tensor, state_bytes
from .context import Context
from .llama_context import head_sizes, kv_heads
from .memory_kind import has_extended_cells, memory_kind
from .model import Model
from .params import ContextParams
from .session import Host, session_metadata

__all__ = ["kv_bytes_per_token", "predict_session_bytes"]


def _plain_layout(model: Model, params: ContextParams) -> tuple[Structure, Shape] | None:
    """The layout of a plain transformer from its metadata; None where that is not enough."""
    heads = kv_heads(model)
    k, v = head_sizes(model)
    special = ("attention.kv_lora_rank", "attention.shared_kv_layers")
    known = model.metadata.keys()
    if (
        not memory_kind(model).is_plain
        or not (k and v and len(set(heads)) == 1 and heads[0])
        or any(f"{model.architecture}.{key}" in known for key in special)
    ):
        return None
    n_k, n_v = heads[0] * k, heads[0] * v
    rows_k = Tensor(params.type_k.ggml_type, params.type_k.row_bytes(n_k))
    transposed = not params.flash_attention
    rows_v = Tensor(params.type_v.ggml_type, params.type_v.row_bytes(n_v), n_v if transposed else 0)
    structure = Structure(("kv",), extended_cells=has_extended_cells(model))
    n_layer = len(heads)
    return structure, Shape(((rows_k,) * n_layer + (rows_v,) * n_layer,), transposed)


def _layout(model: Model, params: ContextParams) -> tuple[Structure, Shape]:
    plain = _plain_layout(model, params)
    if plain is not None:
        return plain
    with Context(model, params.with_changes(n_ctx=256, n_batch=32, n_ubatch=32)) as probe:
        return probe.layout


def kv_bytes_per_token(model: Model, params: ContextParams | None = None) -> int:
    """Return the bytes of K and V per token.

    Parameters
    ----------
    model : Model
    params : ContextParams, optional

    Returns
    -------
    int
        0 for recurrent memory alone, which does not grow.
    """
    structure, shape = _layout(model, params or ContextParams())
    return sum(
        tensor.row_bytes
        for kind, tensors in zip(structure.blocks, shape.blocks, strict=True)
        if kind == "kv"
        for tensor in tensors
    )


def predict_session_bytes(
    model: Model,
    n_tokens: int,
    params: ContextParams | None = None,
    *,
    include_logits: bool = True,
) -> int:
    """Return the size of a session file of ``n_tokens``.

    Exact to the byte. For plain transformers it is computed from the model's metadata; for other
    memory from a probe context of 256 cells.

    Parameters
    ----------
    model : Model
    n_tokens : int
        At least 1.
    params : ContextParams, optional
        Of the saving context.
    include_logits : bool
        Whether the file includes the next token's logits.
    """
    params = params or ContextParams()
    if n_tokens < 1:
        raise ParameterError(f"n_tokens={n_tokens}: a session has at least 1")
    structure, shape = _layout(model, params)
    n_ctx = params.n_ctx or model.n_ctx_train
    host = Host(model, params, n_ctx)
    kind = host.kind
    n_logits = model.n_vocab if include_logits or not kind.can_cut else 0
    n_bytes = state_bytes(structure, shape, n_tokens)
    if kind.exceeds_window(n_tokens) and not kind.has_readable_window:  # so without older rows
        a_cell = structure.cell_bytes + sum(tensor.row_bytes for tensor in shape.blocks[1])
        n_bytes -= (n_tokens - kind.window) * a_cell
    return session_bytes(n_tokens, n_bytes, session_metadata(host), n_logits)
