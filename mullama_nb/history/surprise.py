"""How surprising each token of a message was, and how unsure the model was before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..engine.scoring import Score
from ..errors import ParameterError
from .message import message_parts
from .tree import Checkpoint
from .visiting import look
from .workspace import Workspace

__all__ = ["Nats", "entropy", "mean_surprisal", "perplexity", "surprisal"]

Nats: TypeAlias = npt.NDArray[np.float32]


def surprisal(workspace: Workspace[Checkpoint], end: Checkpoint) -> Nats:
    """Return the surprisal of each token of a message; see ``Turn.surprisal``."""
    parts = message_parts(end)
    scores = _scores(workspace, [part for part in parts if not part.logprobs])
    logprobs = [part.logprobs or scores[part].logprobs for part in parts]
    return -_joined(logprobs)


def entropy(workspace: Workspace[Checkpoint], end: Checkpoint) -> Nats:
    """Return the entropy before each token of a message; see ``Turn.entropy``."""
    parts = message_parts(end)
    scores = _scores(workspace, parts)
    return _joined([scores[part].entropies for part in parts])


def perplexity(nats: Nats, start: int, stop: int | None) -> float:
    """Return the perplexity of a span of tokens with these surprisals; see ``Turn.perplexity``.

    Raises
    ------
    ParameterError
        When no token of the span has one.
    """
    span = nats[start:stop]
    span = span[~np.isnan(span)]
    if not span.size:
        raise ParameterError(
            f"start={start} and stop={stop} hold no token whose probability is known: the message "
            f"has {nats.size} tokens, and the very first token of a context has none"
        )
    return float(np.exp(span.mean(dtype=np.float64)))


def mean_surprisal(logprobs: Sequence[float]) -> float | None:
    """Return the mean surprisal of generated tokens in nats; None where there is none.

    Parameters
    ----------
    logprobs : sequence of float
    """
    mean = -sum(logprobs) / len(logprobs) if logprobs else math.nan
    return mean if math.isfinite(mean) else None


def _joined(values: Sequence[Sequence[float]]) -> Nats:
    return np.array([value for part in values for value in part], np.float32)


def _scores(
    workspace: Workspace[Checkpoint], parts: Sequence[Checkpoint]
) -> dict[Checkpoint, Score]:
    """The scores of the tokens of checkpoints; those of each are worked out once."""
    known = workspace.scores
    found = {}
    for part in parts:
        start, score = known.get(part, (-1, None))
        if score is None or start != part.start:  # it was cut since
            score = _score(workspace, part)
            known[part] = part.start, score
        found[part] = score
    return found


def _score(workspace: Workspace[Checkpoint], part: Checkpoint) -> Score:
    context, before = workspace.context, part.parent
    if not part.tokens or before is None:
        return Score((), (), ())
    if workspace.keeps_snapshots and part.start:
        # Going to what is kept is exact, and costs less than to repeat the way there.
        with look(workspace, before):
            workspace.adapters.switch(workspace.adapters.of(part))
            return context.score(part.tokens)
    first = max(part.start, 1)
    if part.is_ancestor_of(workspace.head):
        score = context.score_held(first, part.stop)
    else:
        with look(workspace, part):
            score = context.score_held(first, part.stop)
    if part.start:
        return score
    unknown = (math.nan,)  # nothing says how likely the very first token is
    return Score(part.tokens, unknown + score.logprobs, unknown + score.entropies)
