"""Saving a context's state as a session file, and restoring one after checking it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..checks import is_integer
from ..errors import (
    AdapterError,
    ContextError,
    ParameterError,
    SessionFormatError,
    SessionMismatchError,
    UnverifiedWarning,
    shown,
)
from ..state.atomic import make_private_folder
from ..state.file import CELL_MARK, SessionFile, now, read_session, write_session
from ..state.finite import is_finite, numbers_are_finite
from ..state.layout import LayoutError, SequenceState, Shape, Structure, join, row_places
from ..state.segment import Segment
from ..state.session_info import SessionInfo, session_info
from . import compatibility
from .adapters.loaded import AdapterRuns, KnownAdapters
from .adapters.values import key_of
from .memory_kind import MemoryKind, memory_kind
from .model import Model
from .params import ContextParams
from .path_state import PathState
from .scheduler import Scheduler
from .threads.lock import interrupts_held
from .warn import warn, warn_inexact

__all__ = [
    "Host",
    "check_chain",
    "kv_bytes",
    "layout_of",
    "load",
    "save",
    "session_metadata",
    "take_over",
]

_MOST_STREAMS = 256  # llama.cpp's LLAMA_MAX_SEQ


@dataclass(frozen=True)
class Host:
    """The context that a session is made for or loaded into.

    Made when the context is: the environment that rows depend on may change afterwards.
    """

    model: Model
    params: ContextParams
    n_ctx: int
    settings: Mapping[str, Any] = field(init=False)
    settings_digest: str = field(init=False)
    kind: MemoryKind = field(init=False)
    adapters: KnownAdapters = field(init=False)

    def __post_init__(self) -> None:
        values = compatibility.settings(self.model, self.params, self.n_ctx)
        object.__setattr__(self, "settings", values)
        object.__setattr__(self, "settings_digest", compatibility.settings_digest(values))
        object.__setattr__(self, "kind", memory_kind(self.model))
        object.__setattr__(self, "adapters", KnownAdapters(self.model))


@dataclass(frozen=True)
class _Fit:
    """A session that may be given to llama.cpp, and what has to be said about it."""

    state: PathState
    inexact: tuple[str, ...] = ()
    unverified: bool = False


def session_metadata(
    host: Host, adapters: AdapterRuns | None = None, n_tokens: int = 0
) -> dict[str, Any]:
    """Return the metadata of a session file.

    Parameters
    ----------
    host : Host
    adapters : AdapterRuns, optional
        Of the tokens, and what is on behind them.
    n_tokens : int
    """
    metadata: dict[str, Any] = {
        "format": compatibility.FORMAT,
        "model": host.model.name,
        "settings": dict(host.settings),
        "environment": compatibility.environment(host.params, host.model),
        "n_ctx": host.n_ctx,
        "created": now(),
    }
    if adapters is not None and (notes := adapters.notes(n_tokens)):
        metadata["settings"][compatibility.ADAPTERS] = notes
        metadata[compatibility.ADAPTER_RUNS] = [[*run] for run in adapters.between(0, n_tokens + 1)]
    return metadata


def layout_of(scheduler: Scheduler) -> tuple[Structure, Shape]:
    """Return the layout of a context's state."""
    memory = scheduler.path.memory
    if memory.is_described:
        return memory.description
    return scheduler.call(lambda path: path.memory.description)


def kv_bytes(structure: Structure, shape: Shape, n_tokens: int) -> int:
    """Return the bytes of K and V rows of a number of tokens, or of a recurrent state."""
    return sum(
        tensor.row_bytes * (n_tokens if kind == "kv" else 1)
        for kind, tensors in zip(structure.blocks, shape.blocks, strict=True)
        for tensor in tensors
    )


def check_chain(segments: Sequence[Segment], start: int, settings: str) -> int:
    """Check that segments can be restored one behind the other; returns where they end.

    Raises
    ------
    ContextError
        When they do not follow each other or belong to other settings.
    ParameterError
        When one is no segment.
    """
    at = start
    for segment in segments:
        if not isinstance(segment, Segment):
            raise ParameterError(f"{shown(segment)} is no segment")
        if segment.settings != settings:
            raise ContextError(
                "a segment of another model or other settings cannot be restored here"
            )
        if segment.start != at:
            raise ContextError(
                f"a segment that starts at token {segment.start} cannot follow {at} tokens"
            )
        at = segment.stop
    return at


def save(
    scheduler: Scheduler, host: Host, path: Path, *, include_logits: bool, window_only: bool
) -> SessionInfo:
    """Save a context; see ``Context.save_session``."""
    structure, _ = layout_of(scheduler)
    state = scheduler.call(
        lambda held: held.whole_state(include_logits=include_logits, window_only=window_only)
    )
    make_private_folder(path.parent)
    return session_info(path.name, write_session(path, _packed(host, structure, state)))


def load(scheduler: Scheduler, host: Host, path: Path) -> SessionInfo:
    """Restore a context from a file; see ``Context.load_session``."""
    layout = layout_of(scheduler)
    with interrupts_held():  # one that came between open and close would leave a file open
        file = read_session(path, partial(row_places, *layout))
    take_over(scheduler, host, file, path.name)
    return session_info(path.name, file.outline)


def take_over(scheduler: Scheduler, host: Host, file: SessionFile, name: str) -> None:
    """Restore a context from a session; see ``Context.take_session``."""
    fit = _fitted(file, host, *layout_of(scheduler), name)
    with scheduler.moving() as path:
        state = fit.state
        if fit.unverified:  # it says nothing of adapters
            on = state.adapters.switched(len(state.tokens), path.adapters.on)
            state = replace(state, adapters=on)
        path.replace(state)
    if fit.unverified:
        warn(
            f"{name} was not written by mullama_nb: that it belongs to {host.model.name!r} could "
            "not be verified",
            UnverifiedWarning,
        )
    if fit.inexact:
        warn_inexact(f"{name} was saved elsewhere: {'; '.join(fit.inexact)}")
    if fit.state.floor:
        warn_inexact(f"{name} holds only the last rows of the sliding window")


def _packed(host: Host, structure: Structure, state: PathState) -> SessionFile:
    """The file of a state, whose cells get our mark."""
    SequenceState(state.data, structure).mark_cells(CELL_MARK)
    metadata = session_metadata(host, state.adapters, len(state.tokens))
    return SessionFile(state.tokens, state.data, metadata, state.logits)


def _fitted(file: SessionFile, host: Host, structure: Structure, shape: Shape, name: str) -> _Fit:
    """Check a session file against the context that wants to load it.

    Raises
    ------
    SessionMismatchError
        When it belongs to another model or other settings, or has more tokens than cells.
    SessionFormatError
        When its contents contradict each other.
    """
    inexact = _check_identity(file, host, name)
    _check_tokens(file, host, name)
    state = _parse(file, structure, name)
    difference = state.shape.disagreement(shape)
    if difference is not None:
        raise SessionMismatchError(
            f"{name} does not fit this context: {difference} (the session's first, then this "
            "context's). Load it with the model, KV cache types and flash attention of the "
            "context that saved it"
        )
    n_tokens = len(file.tokens)
    try:
        state.check_positions(0, n_tokens, host.kind.window)
        state.check_extensions(file.tokens)
    except LayoutError as error:
        raise SessionFormatError(
            f"{name} is damaged, or a part of a conversation: {error}. It cannot be loaded"
        ) from None
    unverified = not file.is_verified
    if unverified:
        _check_foreign(state, host, name)
    _check_numbers(file, state, host, name)
    data = file.state
    if state.is_split or not state.is_sorted():
        data = join([state], whole=True)
    complete = not host.kind.exceeds_window(n_tokens) or state.covers(0, n_tokens)
    floor = 0 if complete else n_tokens
    path = PathState(file.tokens, data, file.logits, floor, _adapters(file, host, name))
    return _Fit(path, tuple(inexact), unverified)


def _adapters(file: SessionFile, host: Host, name: str) -> AdapterRuns:
    """What a file's tokens were evaluated with."""
    runs, metadata = AdapterRuns(), file.metadata
    if not file.is_verified:
        return runs
    notes = metadata["settings"].get(compatibility.ADAPTERS, [])
    try:
        for first, text in metadata.get(compatibility.ADAPTER_RUNS, []):
            if not is_integer(first) or not runs.runs[-1][0] <= first <= len(file.tokens):
                raise ValueError(f"adapters begin at token {first!r:.60}")
            runs = runs.switched(first, host.adapters.saved(text))
        if {value.key for _, each in runs.runs for value in each.values} != {*map(key_of, notes)}:
            raise ValueError("its settings name others than its tokens were evaluated with")
    except (AdapterError, ParameterError, TypeError, ValueError) as error:
        raise SessionFormatError(
            f"{name} is damaged: what it says of adapters is wrong: {error}"
        ) from None
    return runs


def _check_identity(file: SessionFile, host: Host, name: str) -> list[str]:
    if not file.is_verified:
        return []
    settings, environment = file.metadata.get("settings"), file.metadata.get("environment")
    if not isinstance(settings, dict) or not isinstance(environment, dict):
        raise SessionFormatError(f"{name} is damaged: its metadata names no settings")
    here = session_metadata(host)
    refused = compatibility.refusals(file.metadata, here, host.adapters)
    if refused:
        theirs, ours = file.metadata.get("model"), host.model.name
        where = "this context" if theirs == ours else f"this context of {ours!r}"
        raise SessionMismatchError(
            f"{name} was saved from {shown(repr(theirs))} and does not fit {where}. They differ in "
            f"{'; '.join(refused)}. Load it with the same model and settings, or evaluate its "
            "conversation again here"
        )
    return compatibility.inexactness(file.metadata, here)


def _check_tokens(file: SessionFile, host: Host, name: str) -> None:
    n_tokens, n_vocab = len(file.tokens), host.model.n_vocab
    if n_tokens == 0:
        raise SessionFormatError(f"{name} holds no tokens, so there is nothing to resume")
    if n_tokens > host.n_ctx:
        raise SessionMismatchError(
            f"{name} holds {n_tokens:,} tokens and this context has {host.n_ctx:,} cells; "
            f"make one with n_ctx={n_tokens} or more"
        )
    low, high = min(file.tokens), max(file.tokens)
    if low < 0 or high >= n_vocab:
        raise SessionMismatchError(
            f"{name} holds token {low if low < 0 else high}, which is not in the vocabulary of "
            f"{n_vocab:,}; it was saved with another model, or is damaged"
        )
    if file.logits is not None and file.logits.size != n_vocab:
        raise SessionFormatError(
            f"{name} holds {file.logits.size:,} logits for a vocabulary of {n_vocab:,} tokens"
        )


def _parse(file: SessionFile, structure: Structure, name: str) -> SequenceState:
    try:
        return SequenceState(file.state, structure, 1 if file.is_verified else _MOST_STREAMS)
    except LayoutError as error:
        if file.is_verified:
            reason = "it was written by another version"
        else:
            reason = "it is damaged, or was saved with another model or flash attention setting"
        raise SessionFormatError(
            f"{name} does not hold a state that this context could take: {error}. Probably {reason}"
        ) from None


def _check_foreign(state: SequenceState, host: Host, name: str) -> None:
    if CELL_MARK in state.cell_marks():
        raise SessionFormatError(
            f"{name} is damaged: it was written by mullama_nb and its trailer is missing. "
            "It was probably cut short; use a copy of it"
        )
    if not host.kind.can_cut:
        raise SessionFormatError(
            f"{name} has no trailer and so no logits, which the memory of {host.model.name!r} "
            "cannot compute again. Only files that mullama_nb wrote can be loaded here"
        )


def _check_numbers(file: SessionFile, state: SequenceState, host: Host, name: str) -> None:
    """A sound checksum says who wrote a file, not that what was computed made sense."""
    if file.logits is None and not host.kind.can_cut:
        raise SessionFormatError(
            f"{name} has no logits, and the memory of {host.model.name!r} cannot compute them "
            "again; it was not written by mullama_nb"
        )
    finite = state.row_places == file.finite or is_finite(state)
    if not finite or not (file.logits is None or numbers_are_finite(file.logits)):
        raise SessionFormatError(
            f"{name} holds numbers that are not finite: what computed them had gone wrong, or the "
            "file was made by hand. Evaluate its conversation again"
        )
