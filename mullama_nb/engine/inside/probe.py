"""A second context on the same weights, in which a token is decoded again to be looked into.

It is made as the live one was, with an evaluation callback, and takes over the rows before the
token. So the live context is read and nothing else, and its own graphs run without a callback.

It takes memory of its own from the first look on, until the live context is closed or rests: cells
for the tokens up to the one that is looked at, and what llama.cpp computes a batch in.
"""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import llama_cpp
import numpy as np

from ... import machine
from ...errors import ContextError, DecodeError
from ..adapters.loaded import LoadedAdapters
from ..compatibility import settings
from ..decoder import MOST_OUTPUTS, PATH, Aborted, Logits, sealed
from ..llama_context import bytes_per_cell, make_llama_context
from ..memory import Memory
from ..model import Model
from ..native import StopFlag
from ..params import ContextParams
from ..path import ActivePath
from ..tally import Tally
from ..threads.lock import interrupts_held
from .anatomy import LAYER_OUTPUT, Anatomy, anatomy_of
from .attention import attention_of
from .graph import Floats, GraphWatch, Tensor

__all__ = ["Probe", "Seen"]

_STEP = 512  # cells are added in multiples, so that a growing conversation needs few contexts


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen of one token.

    Attributes
    ----------
    position : int
    tokens : tuple of int
        Those up to this one.
    attention : ndarray of float32, shape (n_layers, n_heads, n_tokens)
    sinks : ndarray of float32, shape (n_layers, n_heads)
    hidden : ndarray of float32, shape (n_layers + 1, n_embd)
    logits : ndarray of float32, shape (n_vocab,)
    adapters : LoadedAdapters
        What it was evaluated with.
    is_exact : bool
        Whether it was evaluated as the live context did, to the bit.
    """

    position: int
    tokens: tuple[int, ...]
    attention: Floats
    sinks: Floats
    hidden: Floats
    logits: Logits
    adapters: LoadedAdapters
    is_exact: bool


class Probe:
    """Decodes tokens of a path again and looks at what llama.cpp computes.

    It has a lock of its own, under which its native context is made, used and freed.

    Parameters
    ----------
    model : Model
    params : ContextParams
        Those of the live context.
    n_ctx : int
        Its cells.
    flag : StopFlag
        Stops a long evaluation.
    tally : Tally
        Counts the tokens that are evaluated.
    """

    def __init__(
        self, model: Model, params: ContextParams, n_ctx: int, flag: StopFlag, tally: Tally
    ) -> None:
        self._model = model
        self._params = params
        self._most_cells = n_ctx
        self._flag = flag
        self._tally = tally
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._native: _Native | None = None

    def free(self) -> None:
        """Free the native context; the next look makes another one."""
        if os.getpid() == self._process:  # a fork may have the lock taken, and nobody to release it
            with interrupts_held(), self._lock:
                self._drop()

    def _drop(self) -> None:
        if self._native is not None:
            self._native.free()
            self._native = None

    def _with_room(self, n_tokens: int) -> _Native:
        native = self._native
        if native is None or native.n_cells < n_tokens:
            self._drop()
            n_cells = min(-(-n_tokens // _STEP) * _STEP, self._most_cells)
            values = (settings(self._model, self._params, n) for n in (n_cells, self._most_cells))
            if len({str(each) for each in values}) > 1:  # LongRoPE's factors go by the cells
                n_cells = self._most_cells
            native = self._native = _Native(
                self._model, self._params, n_cells, self._flag, self._tally
            )
        return native

    # -- look --------------------------------------------------------------------------------

    def look(self, path: ActivePath, position: int) -> Seen:
        """Decode a token of a path again; the path's lock is held.

        Raises
        ------
        Aborted
            When the stop flag was set.
        ContextError
            When the model is of a kind that cannot be looked into, or memory is short.
        """
        with self._lock:
            try:
                return self._look(path, position)
            except MemoryError:
                self._drop()
                raise ContextError(
                    f"there is not enough memory for a look at {position + 1:,} tokens"
                ) from None
            except BaseException:
                self._drop()
                raise

    def _look(self, path: ActivePath, position: int) -> Seen:
        n_tokens = position + 1
        native = self._with_room(n_tokens)
        adapters = path.adapters.at(position)
        anatomy = native.anatomy(adapters)
        native.memory.clear()
        if path.memory.kind.can_cut and path.memory.can_cut(position):
            if position:
                native.memory.append(path.memory.rows(0, position))
            start, is_exact = position, True
        else:
            start, is_exact = self._evaluate_again(native, path, position)
        native.memory.decoder.adapters.use(adapters)
        found = _Findings(self._model, anatomy, n_tokens)
        with native.watch.watching(found.wants, found.see):
            logits = native.memory.decoder.decode(path.tokens[start:n_tokens], start).copy()
        tokens = tuple(path.tokens[:n_tokens])
        attention, sinks, hidden = found.arrays()
        return Seen(position, tokens, attention, sinks, hidden, logits, adapters, is_exact)

    def _evaluate_again(self, native: _Native, path: ActivePath, position: int) -> tuple[int, bool]:
        """Do what the path did, from the nearest kept state on, up to before the token.

        Returns
        -------
        int
            The token, which the path decoded in a batch of its own.
        bool
            Whether that repeats it exactly.
        """
        memory, kind, before = native.memory, path.memory.kind, path.replay.up_to(position)
        kept, start = before.last, 0
        if kept is not None:
            if kind.is_hybrid:
                memory.replace(path.memory.whole(path.n_tokens))
            memory.roll_back(kept)
            start = kept.n_tokens
        for at, stop in path.replay.up_to(position + 1).steps(start, position + 1):
            memory.decoder.adapters.use(path.adapters.at(at))
            for chunk in sealed(path.tokens[at : min(stop, position + 1)], self._params.n_ubatch):
                if self._flag.is_set():
                    raise Aborted
                if at < position:
                    memory.decoder.decode(chunk, at)
                    at += len(chunk)
        is_exact = not kind.can_cut and before.reaches(position)
        is_in_place = kind.repeats_in_place or position <= kind.window
        return position, is_exact and is_in_place and path.is_put_back_exactly

    # -- what a layer would say --------------------------------------------------------------

    def logits(self, hidden: Floats, adapters: LoadedAdapters) -> Floats:
        """Return the logits that vectors have which leave the last layer.

        They take the place of what leaves it while other tokens are evaluated, and so go through
        the model's own final norm, output matrix, scale and softcap.

        Parameters
        ----------
        hidden : ndarray of float32, shape (n, n_embd)
        adapters : LoadedAdapters

        Returns
        -------
        ndarray of float32, shape (n, n_vocab)

        Raises
        ------
        ContextError
            When the model's logits depend on more than that.
        """
        with self._lock:
            try:
                return self._logits(hidden, adapters)
            except BaseException:
                self._drop()
                raise

    def _logits(self, hidden: Floats, adapters: LoadedAdapters) -> Floats:
        native = self._with_room(1)
        if not native.anatomy(adapters).is_headed:
            raise ContextError(
                f"the logits of the architecture {self._model.architecture!r} come from more than "
                "what leaves its last layer, so its other layers cannot be asked"
            )
        memory, rows = native.memory, []
        memory.decoder.adapters.use(adapters)
        size = min(MOST_OUTPUTS, memory.decoder.n_batch, self._params.n_ubatch, native.n_cells)
        name = f"{LAYER_OUTPUT}-{self._model.n_layers - 1}"
        for at in range(0, len(hidden), size):
            part, written = hidden[at : at + size], list[str]()

            def see(tensor: Tensor, part: Floats = part, written: list[str] = written) -> None:
                tensor.write(part)
                written.append(tensor.name)

            memory.clear()
            n = len(part)
            with native.watch.watching(lambda tensor: tensor.name == name, see):
                rows += memory.decoder.decode_rows([0] * n, range(n), [PATH] * n, n_outputs=n)
                rows[at:] = [row.copy() for row in rows[at:]]
            if not written:
                raise ContextError(f"llama.cpp did not compute {name!r} in a batch")
        memory.clear()
        return np.array(rows)


class _Native:
    """llama.cpp's context of a probe."""

    def __init__(
        self, model: Model, params: ContextParams, n_cells: int, flag: StopFlag, tally: Tally
    ) -> None:
        needed, free = n_cells * bytes_per_cell(model, params), machine.here.memory.free
        if needed > free:
            raise ContextError(
                f"a look at {n_cells:,} tokens takes {needed / 1e6:,.0f} MB for their rows, and "
                f"{free / 1e6:,.0f} MB are free"
            )
        self.n_cells = n_cells
        self.watch = GraphWatch()
        self._model = model
        self._anatomies: dict[str, Anatomy] = {}
        handle = make_llama_context(
            model,
            params.with_changes(n_parallel=1),
            n_cells,
            verbose=False,
            callback=self.watch.callback,
        )
        self.memory = Memory(handle, model, flag, tally)
        self.free = weakref.finalize(
            self, _free, os.getpid(), handle, self.memory, model, self.watch
        )

    def anatomy(self, adapters: LoadedAdapters) -> Anatomy:
        """Return where in its graphs to look; LoRAs add steps of their own."""
        found = self._anatomies.get(adapters.text)
        if found is None:
            model = self._model
            self.memory.clear()
            self.memory.decoder.adapters.use(adapters)
            with self.watch.recording() as steps:
                self.memory.decoder.decode([0], 0)
            found = anatomy_of(steps, model.n_layers, model.n_embd, model.architecture)
            self._anatomies[adapters.text] = found
        return found


def _free(process: int, handle: Any, memory: Memory, _model: Model, _watch: GraphWatch) -> None:
    """The weights and the callback are arguments so that they outlive the cells."""
    if os.getpid() == process:
        memory.decoder.close()
        llama_cpp.llama_free(handle)


class _Findings:
    """What is seen while one token is decoded."""

    def __init__(self, model: Model, anatomy: Anatomy, n_tokens: int) -> None:
        self._anatomy = anatomy
        self._n_layers = model.n_layers
        self._n_tokens = n_tokens
        self._step = -1
        self._hidden = np.full((model.n_layers + 1, model.n_embd), np.nan, np.float32)
        self._attention: dict[int, tuple[Floats, Floats]] = {}
        self._n_seen = 0

    def wants(self, _: Tensor) -> bool:
        self._step += 1
        return self._step in self._anatomy.names

    def see(self, tensor: Tensor) -> None:
        step, anatomy = self._step, self._anatomy
        if tensor.name != anatomy.names[step]:
            raise DecodeError(
                f"llama.cpp computes {tensor.name!r} where it computed {anatomy.names[step]!r}"
            )
        self._n_seen += 1
        if step in anatomy.hidden:
            self._hidden[anatomy.hidden[step]] = tensor.read().reshape(-1)
        else:
            layer = anatomy.attention[step]
            self._attention[layer] = attention_of(tensor, self._n_tokens)

    def arrays(self) -> tuple[Floats, Floats, Floats]:
        """Attention, sinks and hidden states."""
        if self._n_seen != len(self._anatomy.names):
            raise DecodeError(
                f"llama.cpp computed {self._n_seen} of {len(self._anatomy.names)} steps to look at"
            )
        n_heads = max((len(weights) for weights, _ in self._attention.values()), default=0)
        attention = np.full((self._n_layers, n_heads, self._n_tokens), np.nan, np.float32)
        sinks = np.full((self._n_layers, n_heads), np.nan, np.float32)
        for layer, (weights, learnt) in self._attention.items():
            attention[layer, : len(weights)] = weights
            sinks[layer, : len(weights)] = learnt
        return attention, sinks, self._hidden
