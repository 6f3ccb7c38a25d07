"""Whether llama.cpp rotates K and V before it quantises them.

A Hadamard rotation spreads outliers, and its inverse is itself; rows with and without it are
garbage to each other. The rule is that of ``llama_kv_cache``'s constructor, which reads
``LLAMA_ATTN_ROT_DISABLE`` whenever a context is made: a quantised type, heads of a multiple of 64
values that are of one size throughout a cache, and V only where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import native
from .llama_context import head_sizes, metadata_number
from .model import Model
from .params import ContextParams

__all__ = ["VARIABLE", "rotation"]

VARIABLE = "LLAMA_ATTN_ROT_DISABLE"
"""Turns rotation off where it is set to a number that is not 0."""

_WIDTH = 64  # of the smallest rotation


def rotation(model: Model, params: ContextParams) -> Mapping[str, bool]:
    """Return whether K and V are rotated in contexts made now.

    Parameters
    ----------
    model : Model
    params : ContextParams

    Returns
    -------
    mapping
        Of ``"k"`` and ``"v"``. Where the metadata does not say how large heads are, what the
        environment asks for.
    """
    if native.switched_on(VARIABLE):
        return {"k": False, "v": False}
    k, v = head_sizes(model)
    # Latent attention (MLA) works V out from K.
    latent = bool(metadata_number(model, "attention.key_length_mla"))
    return {
        "k": params.type_k.block > 1 and _fits(model, "key", k),
        "v": params.type_v.block > 1 and _fits(model, "value", v) and not latent,
    }


def _fits(model: Model, part: str, size: int) -> bool:
    # Layers with a window may have heads of their own size, in a cache of their own.
    in_window = metadata_number(model, f"attention.{part}_length_swa", size)
    return size % _WIDTH == 0 or in_window % _WIDTH == 0
