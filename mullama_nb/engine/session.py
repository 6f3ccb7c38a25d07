"""Between a context's state and a session file: what is written, and what is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import SessionFormatError, SessionMismatchError, shown
from ..state.file import CELL_MARK, SessionFile, now
from ..state.finite import is_finite, numbers_are_finite
from ..state.layout import LayoutError, SequenceState, Shape, Structure, join
from . import compatibility
from .memory_kind import MemoryKind, memory_kind, n_swa
from .model import Model
from .params import ContextParams
from .path import PathState

__all__ = ["Fit", "Host", "fitted", "packed", "session_metadata"]

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
    kind: MemoryKind = field(init=False)
    window: int = field(init=False)

    def __post_init__(self) -> None:
        values = compatibility.settings(self.model, self.params, self.n_ctx)
        object.__setattr__(self, "settings", values)
        object.__setattr__(self, "kind", memory_kind(self.model))
        object.__setattr__(self, "window", n_swa(self.model))


@dataclass(frozen=True)
class Fit:
    """A session that may be given to llama.cpp, and what has to be said about it."""

    state: PathState
    inexact: tuple[str, ...] = ()
    unverified: bool = False


def session_metadata(host: Host) -> dict[str, Any]:
    """What a session file says about itself."""
    return {
        "format": compatibility.FORMAT,
        "model": host.model.name,
        "settings": dict(host.settings),
        "environment": compatibility.environment(host.params, host.model),
        "n_ctx": host.n_ctx,
        "created": now(),
    }


def packed(host: Host, structure: Structure, state: PathState) -> SessionFile:
    """The file of a state, whose cells get our mark."""
    SequenceState(state.data, structure).mark_cells(CELL_MARK)
    return SessionFile(state.tokens, state.data, session_metadata(host), state.logits)


def fitted(file: SessionFile, host: Host, structure: Structure, shape: Shape, name: str) -> Fit:
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
        state.check_positions(0, n_tokens, host.window)
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
    complete = n_tokens <= host.window or not host.window or state.covers(0, n_tokens)
    path = PathState(file.tokens, data, file.logits, floor=0 if complete else n_tokens)
    return Fit(path, tuple(inexact), unverified)


def _check_identity(file: SessionFile, host: Host, name: str) -> list[str]:
    if not file.is_verified:
        return []
    settings, environment = file.metadata.get("settings"), file.metadata.get("environment")
    if not isinstance(settings, dict) or not isinstance(environment, dict):
        raise SessionFormatError(f"{name} is damaged: its metadata names no settings")
    here = session_metadata(host)
    refused = compatibility.refusals(file.metadata, here)
    if refused:
        theirs, ours = file.metadata.get("model"), host.model.name
        where = "this context" if theirs == ours else f"this context of {ours!r}"
        raise SessionMismatchError(
            f"{name} was saved from {shown(repr(theirs))} and does not fit {where}. They differ in "
            f"{'; '.join(refused)}. Load it with the same model and settings, or evaluate its "
            "conversation again here"
        )
    return compatibility.differences(environment, here["environment"])


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
    if host.kind == "snapshot":
        raise SessionFormatError(
            f"{name} has no trailer, and with it no logits: the memory of {host.model.name!r} "
            "cannot work them out again. Only files that mullama_nb wrote can be loaded here"
        )


def _check_numbers(file: SessionFile, state: SequenceState, host: Host, name: str) -> None:
    """A sound checksum says who wrote a file, not that what was computed made sense."""
    if file.logits is None and host.kind == "snapshot":
        raise SessionFormatError(
            f"{name} has no logits, and the memory of {host.model.name!r} cannot work them out "
            "again; it was not written by mullama_nb"
        )
    finite = state.row_places == file.finite or is_finite(state)
    if not finite or not (file.logits is None or numbers_are_finite(file.logits)):
        raise SessionFormatError(
            f"{name} holds numbers that are not finite: what computed them had gone wrong, or the "
            "file was made by hand. Evaluate its conversation again"
        )
