"""Contexts of as many cells as are needed."""

from __future__ import annotations

from ..engine.compatibility import settings
from ..engine.model import Model
from ..engine.params import ContextParams

__all__ = ["params_for"]

_CELLS = 256  # llama.cpp pads to this


def params_for(n_tokens: int, model: Model, params: ContextParams) -> ContextParams:
    """Return the parameters with as many cells as some tokens need, if the rows allow that."""
    there = params.n_ctx or model.n_ctx_train
    n_ctx = -(-n_tokens // _CELLS) * _CELLS
    # Some models choose their rope factors by the size of the context.
    if n_ctx < there and settings(model, params, n_ctx) == settings(model, params, there):
        return params.with_changes(n_ctx=n_ctx)
    return params
