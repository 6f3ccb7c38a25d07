"""What a model's memory allows, and what its states are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import llama_cpp

from ..state.layout import Structure
from .model import Model

__all__ = [
    "MemoryKind",
    "has_extended_cells",
    "has_readable_window",
    "memory_kind",
    "n_swa",
    "structures",
]

MemoryKind: TypeAlias = Literal["cuttable", "windowed", "snapshot"]

_MROPE_TYPES = (8, 24, 40)  # LLAMA_ROPE_TYPE_MROPE, _VISION, _IMROPE
_CHUNKED_WINDOW = ("llama4",)  # their window jumps from chunk to chunk


def memory_kind(model: Model) -> MemoryKind:
    """What a model's memory allows.

    Returns
    -------
    {"cuttable", "windowed", "snapshot"}
        ``cuttable``: a cache with a cell per token, cut anywhere. ``windowed``: the same, with
        layers that look back only so far; its rows are read in pieces no longer than the window.
        ``snapshot``: recurrent state, which exists for the last token only.
    """
    handle = model.handle
    if llama_cpp.llama_model_is_recurrent(handle) or llama_cpp.llama_model_is_hybrid(handle):
        return "snapshot"
    if n_swa(model) > 0:
        return "snapshot" if model.architecture in _CHUNKED_WINDOW else "windowed"
    return "cuttable"


def n_swa(model: Model) -> int:
    """How many tokens the layers with a sliding window look back; 0 where there are none."""
    return int(llama_cpp.llama_model_n_swa(model.handle))


def has_readable_window(model: Model) -> bool:
    """Whether all rows of a sliding window's cache can be read, in pieces that fit into it."""
    return n_swa(model) > 0 and model.architecture not in _CHUNKED_WINDOW


def has_extended_cells(model: Model) -> bool:
    """Whether a position has several dimensions, as for M-RoPE."""
    return llama_cpp.llama_model_rope_type(model.handle) in _MROPE_TYPES


def structures(model: Model) -> Iterator[Structure]:
    """What the model's memory may write, likeliest first."""
    handle = model.handle
    extended = has_extended_cells(model)
    n_layer = llama_cpp.llama_model_n_layer(handle)
    for cells in (extended, not extended):
        if llama_cpp.llama_model_is_recurrent(handle):
            yield Structure(("recurrent",), n_layer, cells)
        elif llama_cpp.llama_model_is_hybrid(handle):
            for n in range(n_layer + 1):
                yield Structure(("kv", "recurrent"), n, cells)
                yield Structure(("kv", "kv", "recurrent"), n, cells)
        else:
            yield Structure(("kv",), 0, cells)
            yield Structure(("kv", "kv"), 0, cells)
