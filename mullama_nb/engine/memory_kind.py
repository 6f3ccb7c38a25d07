"""Kinds of model memory: the operations they support, and the structure of their states."""

from __future__ import annotations

from collections.abc import Iterator

import llama_cpp

from ..state.layout import Structure
from .model import Model

__all__ = ["MemoryKind", "has_extended_cells", "memory_kind", "structures"]

_MROPE_TYPES = (8, 24, 40)  # LLAMA_ROPE_TYPE_MROPE, _VISION, _IMROPE
_CHUNKED_WINDOW = ("llama4",)  # their window jumps from chunk to chunk


class MemoryKind(str):
    """``"cuttable"``, ``"windowed"`` or ``"snapshot"``, with the supported operations.

    ``cuttable``: a cache with a cell per token, cut anywhere. ``windowed``: the same, with layers
    that look back only so far; its rows are read in pieces no longer than the window.
    ``snapshot``: recurrent state, which exists for the last token only.

    Attributes
    ----------
    window : int
        Size of the sliding window in tokens; 0 if there is none.
    has_readable_window : bool
        Whether all rows of a sliding window's cache can be read, in pieces that fit into it.
    is_hybrid : bool
        Whether some layers have recurrent state and others a cache.
    """

    window: int
    has_readable_window: bool
    is_hybrid: bool

    def __new__(
        cls,
        name: str,
        *,
        window: int = 0,
        has_readable_window: bool = False,
        is_hybrid: bool = False,
    ) -> MemoryKind:
        """Attach to a name what else there is to know."""
        kind = super().__new__(cls, name)
        kind.window = window
        kind.has_readable_window = has_readable_window
        kind.is_hybrid = is_hybrid
        return kind

    @property
    def can_cut(self) -> bool:
        """Whether the cells behind a token can be dropped, and what remains goes on exactly.

        Then rows of any tokens can be read by themselves, and the last token decoded again gives
        its logits. Otherwise there are whole states only, and their logits are kept with them.
        """
        return self != "snapshot"

    @property
    def is_plain(self) -> bool:
        """Whether it is a cache with a cell per token and nothing else."""
        return self.can_cut and not self.has_window

    @property
    def has_window(self) -> bool:
        """Whether there are layers with a sliding window."""
        return self.window > 0

    def exceeds_window(self, n_tokens: int) -> bool:
        """Return whether a number of tokens exceeds the sliding window."""
        return 0 < self.window < n_tokens

    @property
    def repeats_in_place(self) -> bool:
        """Whether what is evaluated behind a snapshot again takes the cells that it took."""
        return self.is_hybrid or not self.has_window


def memory_kind(model: Model) -> MemoryKind:
    """Return the kind of a model's memory."""
    handle = model.handle
    window = int(llama_cpp.llama_model_n_swa(handle))
    is_hybrid = bool(llama_cpp.llama_model_is_hybrid(handle))
    jumps = window > 0 and model.architecture in _CHUNKED_WINDOW
    if llama_cpp.llama_model_is_recurrent(handle) or is_hybrid or jumps:
        name = "snapshot"
    else:
        name = "windowed" if window > 0 else "cuttable"
    return MemoryKind(
        name, window=window, has_readable_window=window > 0 and not jumps, is_hybrid=is_hybrid
    )


def has_extended_cells(model: Model) -> bool:
    """Return whether a position has several dimensions, as for M-RoPE."""
    return llama_cpp.llama_model_rope_type(model.handle) in _MROPE_TYPES


def structures(model: Model) -> Iterator[Structure]:
    """Return the structures that the model's memory may write, most likely first."""
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
