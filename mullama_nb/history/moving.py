"""Undo and redo by turns, and alternatives to tokens."""

from __future__ import annotations

import itertools

from ..engine.context import TokenProbability
from .conversation import Conversation
from .message import token_place
from .paths import Redo
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["alternatives", "redo_turns", "step_ahead", "undo_turns"]


def undo_turns(workspace: Workspace[Checkpoint], conversation: Conversation, n: int) -> None:
    """Take back the last questions with their answers; see ``Chat.undo``."""
    for _ in range(n):
        steps = enumerate(workspace.head.lineage(), 1)
        found = next(((i, c) for i, c in steps if c.metadata.begins_turn), None)
        if found is None:
            break
        n_steps, begin = found
        workspace.undo(n_steps, to=conversation.point_before(begin))


def redo_turns(workspace: Workspace[Checkpoint], n: int) -> None:
    """Move forward by turns; see ``Chat.redo``."""
    for _ in range(n):
        way = workspace.graph.redo
        if way is None:
            break
        ahead = itertools.islice(enumerate(way), 1, None)
        workspace.redo(next((i for i, c in ahead if c.metadata.begins_turn), way.n))


def step_ahead(way: Redo[Checkpoint]) -> tuple[int, Redo[Checkpoint] | None]:
    """Return how many turns begin at the next step, 0 or 1, and where to continue counting."""
    return int(way.checkpoint.metadata.begins_turn), way.rest


def alternatives(
    workspace: Workspace[Checkpoint], end: Checkpoint, token: int, k: int
) -> list[TokenProbability]:
    """Return the alternatives to a token; see ``Chat.alternatives``."""
    part, index = token_place(end, token)
    if part.is_ancestor_of(workspace.head):
        return workspace.context.top_tokens(k, at=part.start + index)
    with workspace.visit(part):
        return workspace.context.top_tokens(k, at=part.start + index)
