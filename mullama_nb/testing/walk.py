"""The walk over a recorded tree: each segment evaluated once, its path forced."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..engine.context import Context
from ..engine.request import seeded
from ..engine.sampler import Sampler, log_probabilities
from ..errors import ParameterError
from ..history.checkpoint import Checkpoint
from ..history.options import recalled
from ..history.tree import CheckpointTree

__all__ = ["Step", "Walk", "walk"]

_N_TOP = 5


@dataclass(frozen=True)
class Step:
    """How likely a generated token was, and the likeliest ones in its place.

    Attributes
    ----------
    logprob : float
    top : tuple of (int, float)
        Tokens with their log-probabilities, likeliest first.
    """

    logprob: float
    top: tuple[tuple[int, float], ...]

    @classmethod
    def blank(cls) -> Step:
        """A step that is still to be measured."""
        return cls(0.0, ())


class Forced(Protocol):
    """What is forced: an entry of a recording."""

    @property
    def id(self) -> str: ...
    @property
    def parent(self) -> str | None: ...
    @property
    def tokens(self) -> tuple[int, ...]: ...
    @property
    def notes(self) -> Mapping[str, Any]: ...
    @property
    def steps(self) -> tuple[Step, ...]: ...


@dataclass(frozen=True)
class Walk:
    """What a walk found.

    Attributes
    ----------
    steps : dict
        Of each entry, by id.
    chosen : dict
        The tokens that would have been drawn here, by id of the entries that were drawn.
    texts : dict
        What is said here from the first token on that is drawn otherwise.
    """

    steps: dict[str, tuple[Step, ...]]
    chosen: dict[str, tuple[int, ...]]
    texts: dict[str, str]


def walk(entries: Sequence[Forced], context: Context, *, with_texts: bool = False) -> Walk:
    """Evaluate a recorded tree in an empty context.

    Parameters
    ----------
    entries : sequence
        Parents first.
    context : Context
    with_texts : bool
        Whether to generate what is said from the first token on that is drawn otherwise.
    """
    tree = CheckpointTree(context)
    places: dict[str | None, Checkpoint] = {None: tree.root}
    has_children = {entry.parent for entry in entries}
    found = Walk({}, {}, {})
    for entry in entries:
        parent = places[entry.parent]
        if tree.head is not parent:
            tree.checkout(parent)
        if entry.steps:
            _follow(entry, context, found)
        elif entry.tokens:
            context.evaluate(entry.tokens)
        found.steps.setdefault(entry.id, ())
        if entry.id in has_children:
            places[entry.id] = tree.commit(allow_empty=True)
        elif entry.tokens:  # nothing follows: its rows need not be kept
            own = _first_other(entry, found)
            if own is None or not with_texts:
                context.rewind(parent.stop)
                continue
            places[entry.id] = tree.commit()
    if with_texts:
        for entry in entries:
            if (own := _first_other(entry, found)) is not None:
                found.texts[entry.id] = _own_text(entry, own, places[entry.id], tree)
    return found


def _follow(entry: Forced, context: Context, found: Walk) -> None:
    sampler = None
    if "sampling" in entry.notes:
        sampling = seeded(recalled(entry.notes["sampling"]))
        sibling = entry.notes.get("sibling", 0)
        sampler = Sampler(
            context.model.vocabulary, sampling, sibling, context.tokens, context.n_ctx
        )
    steps, chosen = [], []
    for token in entry.tokens:
        if token >= context.model.n_vocab:
            raise ParameterError(
                f"token {token} of the recording is not among the {context.model.n_vocab} tokens "
                f"of {context.model.name!r}: it is a model with another vocabulary"
            )
        logits = context.logits
        if sampler is not None:
            chosen.append(sampler.choose(logits, context.token_count()))
            if chosen[-1] == token:
                sampler.accept(token)
            else:
                # A forced token may not fit a grammar; a fresh one only looks back on penalties.
                history = (*context.tokens, token)
                sampler = Sampler(
                    context.model.vocabulary, sampling, sibling, history, context.n_ctx
                )
        logs = log_probabilities(logits)
        likely = np.argpartition(-logs, _N_TOP)[:_N_TOP]
        likely = likely[np.argsort(-logs[likely], kind="stable")]
        steps.append(Step(float(logs[token]), tuple((int(t), float(logs[t])) for t in likely)))
        context.evaluate([token])
    found.steps[entry.id] = tuple(steps)
    if sampler is not None:
        found.chosen[entry.id] = tuple(chosen)


def _first_other(entry: Forced, found: Walk) -> int | None:
    chosen = found.chosen.get(entry.id, ())
    pairs = zip(entry.tokens, chosen, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), None)


def _own_text(entry: Forced, index: int, place: Checkpoint, tree: CheckpointTree) -> str:
    context = tree.context
    tree.checkout(place)
    context.rewind(place.start + index)
    sampling = seeded(recalled(entry.notes["sampling"]))
    stream = context.stream(None, len(entry.tokens) - index, sampling=sampling)
    with stream:
        sibling = entry.notes.get("sibling", 0)
        stream.request = dataclasses.replace(stream.request, sibling=sibling)
        for _ in stream:
            pass
    tokens = [token.id for token in stream.completion.tokens]
    return context.model.detokenize(tokens, special=True)
