"""Adapters in llama.cpp: loaded once for each model's weights, switched on in a context.

llama.cpp keeps a list of a model's LoRAs and goes through it, without a lock of its own, whenever
it reserves a graph: when a context is made, and at the first decode after other adapters were
switched on. Loading and freeing change that list, so all four happen under one lock of the weights.
"""

from __future__ import annotations

import ctypes
import json
import os
import threading
import weakref
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import llama_cpp
import numpy as np

from ...errors import AdapterError, shown
from .. import native
from ..threads.lock import interrupts_held
from .file import Directions, LoRAFile
from .fit import Fitted, check_fit
from .values import (
    Adapter,
    ControlVector,
    Key,
    LoRA,
    checked_adapters,
    described,
    key_of,
    listed_adapters,
    parse_key,
)

__all__ = [
    "NONE",
    "Adaptable",
    "AdapterRuns",
    "AdapterSwitch",
    "KnownAdapters",
    "LoRAs",
    "LoadedAdapters",
    "text_of",
]


class Adaptable(Fitted, Protocol):
    """A model, as far as adapters are concerned."""

    verbose: bool

    @property
    def handle(self) -> Any:
        """llama.cpp's pointer to the model."""

    @property
    def loras(self) -> LoRAs:
        """The LoRAs that are loaded for its weights."""


class LoRAs:
    """The LoRAs that are loaded for a model's weights; freed when nothing holds them any more.

    Attributes
    ----------
    lock : RLock
        Held while llama.cpp changes its list of them, or goes through it.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._loaded: weakref.WeakValueDictionary[str, _LoadedLoRA] = weakref.WeakValueDictionary()
        # A collection may end one on any thread, at any time: it only leaves its pointer here.
        self._unused: deque[Any] = deque()

    def load(self, model: Adaptable, file: LoRAFile) -> _LoadedLoRA:
        """Return a LoRA, loaded if it is not yet.

        Raises
        ------
        AdapterError
            When llama.cpp does not take it, or it was changed since it was read.
        """
        with interrupts_held(), self.lock:
            loaded = self._loaded.get(file.fingerprint)
            if loaded is None:
                self.free_unused()
                loaded = _LoadedLoRA(_load(model, file), self._unused)
                self._loaded[file.fingerprint] = loaded
            return loaded

    def free_unused(self) -> None:
        """Free those that nothing holds any more."""
        with interrupts_held(), self.lock:
            while self._unused:
                llama_cpp.llama_adapter_lora_free(self._unused.popleft())


class _LoadedLoRA:
    """llama.cpp's LoRA. What holds it holds the model, too, which would free it."""

    def __init__(self, handle: Any, unused: deque[Any]) -> None:
        self.handle = handle
        weakref.finalize(self, unused.append, handle).atexit = False


def _load(model: Adaptable, file: LoRAFile) -> Any:
    with native.captured_log(verbose=model.verbose) as complaints:
        handle = llama_cpp.llama_adapter_lora_init(model.handle, os.fsencode(file.path))
    try:
        stat = file.path.stat()
    except OSError:
        stat = None
    if stat is None or (stat.st_size, stat.st_mtime_ns) != file.state:
        if handle:
            llama_cpp.llama_adapter_lora_free(handle)
        raise AdapterError(f"{shown(file.path.name)} was changed since it was read; make it anew")
    if not handle:
        reason = shown("; ".join(complaints), 500) or "no reason given"
        raise AdapterError(
            f"llama.cpp cannot load {shown(file.path.name)} for {model.name!r}: {reason}"
        )
    return handle


@dataclass(frozen=True, eq=False)
class LoadedAdapters:
    """Adapters that are loaded for a model, to be switched on together.

    Attributes
    ----------
    values : tuple of LoRA and ControlVector
    loras : tuple
        llama.cpp's LoRAs, in order.
    vector : ndarray of float32, shape (n_layers, n_embd), optional
        The sum of the control vectors.
    text : str
        What rows depend on, as JSON: equal texts give equal rows. Empty without adapters.
    """

    values: tuple[Adapter, ...] = ()
    loras: tuple[_LoadedLoRA, ...] = ()
    vector: Directions | None = None
    text: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _text([value.key for value in self.values]))

    @property
    def notes(self) -> list[dict[str, Any]]:
        """What is saved of them."""
        return [value.note() for value in self.values]


def text_of(notes: Iterable[Mapping[str, Any]]) -> str:
    """Return the ``LoadedAdapters.text`` of the adapters that notes tell of.

    Raises
    ------
    AdapterError, ParameterError
        When they are none.
    """
    return _text([key_of(note) for note in notes])


def _text(keys: Sequence[Key]) -> str:
    # The kinds do not touch each other; within each the order matters, as floats are added.
    ordered = sorted(keys, key=lambda key: key[0] != LoRA.kind)
    return json.dumps(ordered, separators=(",", ":")) if keys else ""


NONE = LoadedAdapters()


@dataclass(frozen=True)
class AdapterRuns:
    """Which adapters the tokens of a path were evaluated with, and which are on for the next.

    Attributes
    ----------
    runs : tuple of (int, LoadedAdapters)
        First tokens, the first one 0, and what they and those behind them were evaluated with. The
        last run is on; it may begin behind the last token.
    """

    runs: tuple[tuple[int, LoadedAdapters], ...] = ((0, NONE),)

    @property
    def on(self) -> LoadedAdapters:
        """What the next token is evaluated with."""
        return self.runs[-1][1]

    def notes(self, n_tokens: int) -> list[dict[str, Any]]:
        """Return what is saved of all that a path's rows and its next token depend on."""
        runs = {first: each for first, each in self.runs if first <= n_tokens}
        found = {value: value.note() for each in runs.values() for value in each.values}
        return [*found.values()]

    def at(self, token: int) -> LoadedAdapters:
        """Return what a token of the path was evaluated with."""
        return self.runs[bisect_right(self.runs, token, key=lambda run: run[0]) - 1][1]

    def switched(self, n_tokens: int, adapters: LoadedAdapters) -> AdapterRuns:
        """Return the runs of the first tokens, with other adapters on behind them."""
        if self.runs[-1][0] <= n_tokens and adapters.text == self.on.text:
            return self
        kept = tuple(run for run in self.runs if run[0] < n_tokens)
        if not kept or kept[-1][1].text != adapters.text:
            kept = (*kept, (n_tokens, adapters))
        return AdapterRuns(kept)

    def up_to(self, n_tokens: int) -> AdapterRuns:
        """Return the runs of the first tokens, with the same adapters on."""
        return self.switched(n_tokens, self.on)

    def between(self, start: int, stop: int) -> tuple[tuple[int, str], ...]:
        """Return where other adapters begin among some tokens, as a segment says it."""
        within = {max(first, start): each.text for first, each in self.runs if first < stop}
        before = ["", *within.values()]
        return tuple(
            run for run, last in zip(within.items(), before, strict=False) if run[1] != last
        )


class AdapterSwitch:
    """Switches adapters on in one llama.cpp context; called under the context's lock.

    Parameters
    ----------
    handle : llama_context pointer
    model : Adaptable

    Attributes
    ----------
    reserving : context manager
        To be entered around the next decode: a lock, if llama.cpp reserves a graph there.
    """

    def __init__(self, handle: Any, model: Adaptable) -> None:
        self._handle = handle
        self._lock = model.loras.lock
        self._on = NONE
        self.reserving: AbstractContextManager[Any] | None = None

    def use(self, adapters: LoadedAdapters) -> None:
        """Evaluate with adapters from now on."""
        before = self._on
        if adapters.text == before.text:
            return
        n = len(adapters.loras)
        handles = (llama_cpp.llama_adapter_lora_p_ctypes * n)(*(a.handle for a in adapters.loras))
        scales = [value.scale for value in adapters.values if isinstance(value, LoRA)]
        llama_cpp.llama_set_adapters_lora(self._handle, handles, n, (ctypes.c_float * n)(*scales))
        if adapters.vector is not None or before.vector is not None:
            self._set_vector(adapters.vector)
        self._on = adapters  # only now may the ones before be freed
        self.reserving = self._lock

    def _set_vector(self, vector: Directions | None) -> None:
        if vector is None:
            llama_cpp.llama_set_adapter_cvec(self._handle, None, 0, 0, -1, -1)
            return
        n_layers, n_embd = vector.shape
        used = np.flatnonzero(vector.any(axis=1))
        # llama.cpp's first row is that of layer 1; rows that it is not given keep what they held.
        data = np.ascontiguousarray(vector[1:])
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        first, last = int(used[0]), int(used[-1])
        status = llama_cpp.llama_set_adapter_cvec(
            self._handle, pointer, data.size, n_embd, first, last
        )
        if status:
            raise AdapterError(f"llama.cpp took no control vector of {n_layers} x {n_embd} numbers")


class KnownAdapters:
    """The adapters that a context was ever given, by content: what is at hand to switch to.

    Parameters
    ----------
    model : Adaptable
    """

    def __init__(self, model: Adaptable) -> None:
        self._model = model
        self._known: dict[tuple[str, str], Adapter] = {}
        self._loaded: dict[str, LoadedAdapters] = {"": NONE}

    def load(self, values: object) -> LoadedAdapters:
        """Return adapters that can be switched on, after checking that they fit the model.

        Raises
        ------
        AdapterError, ParameterError
            When they do not fit, or are no adapters.
        """
        checked = checked_adapters(values)
        return self._loaded.get(_text([value.key for value in checked])) or self._load(checked)

    def offer(self, values: Iterable[Adapter]) -> None:
        """Have adapters at hand, whatever their scales are; none is switched on.

        Raises
        ------
        AdapterError, ParameterError
            When one does not fit the model, or they are no adapters.
        """
        for value in listed_adapters(values):
            check_fit(self._model, value)
            self._known[value.kind, value.fingerprint] = value

    @property
    def at_hand(self) -> tuple[Adapter, ...]:
        """One of each content."""
        return tuple(self._known.values())

    def missing(self, notes: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return saved adapters that are not at hand, in words."""
        return [
            described(note)
            for note in notes
            if (str(note.get("kind")), str(note.get("fingerprint"))) not in self._known
        ]

    def notes(self, text: str) -> list[dict[str, Any]]:
        """Return what is saved of the adapters of a ``LoadedAdapters.text``."""
        return self.saved(text).notes

    def of(self, notes: Iterable[Mapping[str, Any]]) -> tuple[Adapter, ...]:
        """Return the adapters that notes tell of; see :meth:`noted`."""
        return self.noted(notes).values

    def noted(self, notes: Iterable[Mapping[str, Any]]) -> LoadedAdapters:
        """Return the adapters that notes tell of.

        Raises
        ------
        AdapterError
            When one is not at hand; the message names it.
        """
        notes = list(notes)
        if missing := self.missing(notes):
            raise AdapterError(
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not at hand: "
                "give the file, such as adapters=[LoRA('style.gguf')]"
            )
        keys = [key_of(note) for note in notes]
        found = self._loaded.get(_text(keys))
        if found is None:
            found = self._load(tuple(self._known[k[0], k[1]].as_saved(*k[2:]) for k in keys))
        return found

    def saved(self, text: str) -> LoadedAdapters:
        """Return the adapters of a ``LoadedAdapters.text``.

        Raises
        ------
        AdapterError
            When one is not at hand, or the text is none.
        """
        found = self._loaded.get(text)
        if found is None:
            try:
                keys = [parse_key(values) for values in json.loads(text)]
            except (TypeError, ValueError, RecursionError):
                raise AdapterError(f"{shown(repr(text))} names no adapters") from None
            found = self.noted([dict(zip(_FIELDS, key, strict=False)) for key in keys])
        return found

    def _load(self, values: tuple[Adapter, ...]) -> LoadedAdapters:
        self.offer(values)
        model = self._model
        loras = [value for value in values if isinstance(value, LoRA)]
        vectors = [value for value in values if isinstance(value, ControlVector)]
        ready = LoadedAdapters(
            values,
            tuple(model.loras.load(model, lora.file) for lora in loras),
            _sum(model, vectors),
        )
        return self._loaded.setdefault(ready.text, ready)


_FIELDS = ("kind", "fingerprint", "scale", "layers")


def _sum(model: Adaptable, vectors: Sequence[ControlVector]) -> Directions | None:
    """The sum of control vectors, None if nothing is added to any layer."""
    total = np.zeros((model.n_layers, model.n_embd), np.float32)
    for vector in vectors:
        rows = vector.directions[: len(total)]
        first, last = vector.layers or (1, len(rows))
        stop = min(last + 1, len(rows))
        total[first:stop] += rows[first:stop] * np.float32(vector.scale)
    return total if total.any() else None
