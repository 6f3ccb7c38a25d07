"""What a sampler carries from token to token, as noted with the tokens of an answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..engine.sampling.adaptive import SamplerState
from ..engine.sampling.params import SamplingParams
from .node import Node
from .notes import Notes
from .options import recalled

__all__ = ["carried", "notes_back"]


def carried(
    before: Iterable[Notes], sampling: SamplingParams, states: Sequence[Sequence[float]] = ()
) -> SamplerState | None:
    """Return what a sampler carries into the continuation of an answer.

    Tokens that were not drawn, as they were chosen by hand, carry on what was before them.

    Parameters
    ----------
    before : iterable of Notes
        Of the checkpoints before the continuation, latest first.
    sampling : SamplingParams
        Of the continuation.
    states : sequence of SamplerState
        Of the continuation's own first tokens.

    Returns
    -------
    SamplerState or None
        None where the sampler begins anew: at the beginning of an answer, and after another one.
    """
    if sampling.carries is None:
        return None
    if states:
        return tuple(states[-1])
    for notes in before:
        if not notes.is_answer:
            return None
        if notes.sampler_states:
            is_same = recalled(notes.sampling).carries == sampling.carries
            return tuple(notes.sampler_states[-1]) if is_same else None
        if not notes.continues:
            return None
    return None


def notes_back(node: Node) -> Iterable[Notes]:
    """Yield the notes of a checkpoint and of those before it, latest first."""
    return (each.metadata for each in node.lineage())
