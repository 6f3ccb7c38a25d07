"""The logits that a token was chosen from: as they were, to the bit, as far as they can be had."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

from ..engine.completion import Limits
from ..engine.decoder import Logits
from ..engine.request import seeded
from ..engine.sampling.sampler import log_probability
from ..errors import GrammarError
from .message import tokens_said
from .node import Node
from .options import recalled
from .visiting import look
from .workspace import Workspace

__all__ = ["first_of_generation", "logits_in_front"]

N = TypeVar("N", bound=Node)

_MOST_BYTES = 2**26  # of the logits that are kept, of the answers that were explored last

_Rows: TypeAlias = dict[tuple[str, int], Logits]  # by answer, and tokens in front
_kept: weakref.WeakKeyDictionary[Workspace[Any], _Rows] = weakref.WeakKeyDictionary()


def logits_in_front(workspace: Workspace[N], part: N, index: int) -> Logits:
    """Return the logits that a token was chosen from, or those that come nearest.

    Parameters
    ----------
    workspace : Workspace
    part : Node
        That holds the token.
    index : int
        Of the token in there; at least one token lies in front of it.
    """
    is_generated = part.metadata.is_generated
    if workspace.keeps_snapshots:
        logits = _said_again(workspace, part, index)
    elif part.is_ancestor_of(workspace.head):
        logits = workspace.context.logits_at(part.start + index)
    else:
        with look(workspace, part):
            logits = workspace.context.logits_at(part.start + index)
    if not (is_generated and part.metadata.explored):
        return logits
    token, noted = part.tokens[index], part.logprobs[index]
    if log_probability(logits, token) == noted:
        return logits
    other = _explored_again(workspace, part, part.start + index)
    found = [logits] if other is None else [logits, other]
    return min(found, key=lambda each: abs(log_probability(each, token) - noted))


def first_of_generation(part: N) -> N:
    """Return the first part of what was generated at once, and was cut since; or the part."""
    while part.parent is not None and part.metadata.goes_on_from(part.parent.metadata):
        part = part.parent
    return part


def _said_again(workspace: Workspace[N], part: N, index: int) -> Logits:
    """Evaluate a message again up to a token, as it was: its state cannot be cut."""
    context, point = workspace.context, first_of_generation(part).parent
    assert point is not None
    path = [token for node in [*part.lineage()][::-1] for token in node.tokens]
    own = path[point.stop : part.start + index]
    with look(workspace, point):
        workspace.adapters.switch(workspace.adapters.of(part))
        try:
            for tokens in [[token] for token in own] if part.metadata.is_generated else [own]:
                context.evaluate(tokens)
            return context.logits
        finally:
            workspace.drop_uncommitted()


def _explored_again(workspace: Workspace[N], part: N, position: int) -> Logits | None:
    """Explore again what was explored with an answer, as rows depend on what shares a batch.

    Returns
    -------
    ndarray of float32 or None
        None where one of the others is gone.
    """
    first = first_of_generation(part)
    rows = _kept.get(workspace, {})
    if (first.id, position) not in rows:
        together = _together(first)
        if together is None:
            return None
        rows = _kept[workspace] = _logits_of(workspace, together, first, position)
    return rows.get((first.id, position))


def _together(first: N) -> list[N] | None:
    """The answers that were explored with one, in order."""
    explored, parent = first.metadata.explored, first.parent
    assert explored is not None
    assert parent is not None
    by_ordinal = {
        node.metadata.sibling: node
        for node in parent.children
        if node.metadata.is_generated and node.metadata.explored == explored
    }
    own, n = first.metadata.sibling, explored["n"]
    begin = own
    while begin - 1 in by_ordinal:
        begin -= 1
    begin += (own - begin) // n * n  # as many times as it was done
    found = [by_ordinal.get(ordinal) for ordinal in range(begin, begin + n)]
    return [node for node in found if node is not None] if None not in found else None


def _logits_of(
    workspace: Workspace[N],
    together: Sequence[N],
    first: N,
    position: int,
) -> _Rows:
    """The logits of several answers: of the first one from a position on, as many as are kept."""
    point, rows = first.parent, _Rows()
    assert point is not None
    n_each = max(1, _MOST_BYTES // (4 * workspace.context.model.n_vocab * len(together)))

    def keep(index: int, n_tokens: int, logits: Logits) -> None:
        node = together[index]
        begin = position if node is first else node.start
        if begin <= n_tokens < begin + n_each:
            rows[node.id, n_tokens] = logits.copy()

    each = []
    for node in together:
        limits = Limits(**node.metadata.limits)
        each.append((seeded(recalled(node.metadata.sampling)), limits))
    with look(workspace, point), contextlib.suppress(GrammarError):
        workspace.adapters.switch(workspace.adapters.of(first))
        workspace.context.exploration(
            len(each),
            each=each,
            answer_format=workspace.readings.format_of(first.metadata.call_grammar),
            on_logits=keep,
        ).run(together[0].metadata.sibling, n_said=tokens_said(point))
    return rows
