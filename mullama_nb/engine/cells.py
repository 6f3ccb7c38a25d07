"""The native part of a context: created, freed while not needed, and created again."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from typing import Any

import llama_cpp

from ..errors import ContextError
from .llama_context import bytes_per_cell, make_llama_context
from .memory import Memory
from .model import Model
from .native import StopFlag
from .params import ContextParams
from .rotation import VARIABLE, rotation
from .tally import new_tally

__all__ = ["Cells"]

_BYTES_TO_COLLECT = 1 << 29


class _Pressure:
    """Python counts objects and not what they hold: it is asked to collect for bytes of cells."""

    def __init__(self) -> None:
        self._made = 0
        self._lock = threading.Lock()

    def add(self, n_bytes: int) -> None:
        """Collect before cells are made, once so many were since the last time."""
        with self._lock:
            self._made += n_bytes
            is_due = self._made >= _BYTES_TO_COLLECT
            if is_due:
                self._made = 0
        if is_due:
            gc.collect()


_pressure = _Pressure()


class Cells:
    """Creates llama.cpp's context for a ``Context``, and frees it.

    Every evaluating object holds a reference to this; with the last one the cells are freed.

    Parameters
    ----------
    model : Model
    params : ContextParams
    n_ctx : int
    verbose : bool

    Attributes
    ----------
    abort : StopFlag
        Stops a decode of many tokens.
    tally : Tally
        Counts the tokens that are evaluated.
    are_free : bool
        Whether there is no llama.cpp context at present.
    """

    def __init__(self, model: Model, params: ContextParams, n_ctx: int, *, verbose: bool) -> None:
        self.abort = StopFlag()
        self.tally = new_tally()
        self.are_free = True
        self._model = model
        self._params = params
        self._n_ctx = n_ctx
        self._verbose = verbose
        self._rotation = rotation(model, params)
        _pressure.add(n_ctx * bytes_per_cell(model, params))

    def make(self) -> Memory:
        """Make the context.

        Raises
        ------
        ParameterError, ContextError
            As in ``make_llama_context``, and if rows of the first one would have another meaning
            now.
        """
        if rotation(self._model, self._params) != self._rotation:
            raise ContextError(
                f"{VARIABLE} is not what it was when this context was made, so its quantised rows "
                "would be misread: set it as it was"
            )
        handle = make_llama_context(self._model, self._params, self._n_ctx, verbose=self._verbose)
        memory = Memory(handle, self._model, self.abort, self.tally)
        self._free = weakref.finalize(self, _free, os.getpid(), handle, memory, self._model)
        self.are_free = False
        return memory

    def free(self) -> None:
        """Free the context; the weights stay while another context or model uses them."""
        self.are_free = True
        self._free()


def _free(process: int, handle: Any, memory: Memory, _model: Model) -> None:
    """The weights are an argument so that they outlive the cells."""
    if os.getpid() == process:  # a fork has llama.cpp's locks without its threads
        memory.decoder.close()
        llama_cpp.llama_free(handle)
