"""Undo and redo by turns, and alternatives to tokens."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from ..checks import check_integer
from ..engine.sampling.probability import TokenProbability, likeliest
from ..errors import ParameterError
from .chosen_from import logits_in_front
from .message import chain, last_end, message_parts, messages_back, point_before, token_place
from .paths import Redo
from .tree import Checkpoint
from .undoing import go_back, redo
from .workspace import Workspace

__all__ = ["alternatives", "redo_turns", "step_ahead", "step_back", "undo_turns"]


def undo_turns(workspace: Workspace[Checkpoint], n: int) -> None:
    """Take back the last questions with their answers; see ``Chat.undo``."""
    for _ in range(n):
        with workspace.changing() as head:
            said = messages_back(head)
            begin = next((parts[0] for parts in said if parts[0].metadata.begins_turn), None)
            if begin is None:
                break
            to = point_before(begin)
            go_back(workspace, [*itertools.takewhile(_differs_from(to), chain(head))], to)


def _differs_from(place: Checkpoint) -> Callable[[Checkpoint], bool]:
    return lambda at: at is not place


def redo_turns(workspace: Workspace[Checkpoint], n: int) -> None:
    """Move forward by turns; see ``Chat.redo``."""
    for _ in range(n):
        way = workspace.graph.redo
        if way is None:
            break
        n_steps, at = 1, way.rest
        while at is not None and not step_ahead(at)[0]:
            n_steps, at = n_steps + 1, at.rest
        redo(workspace, n_steps)


def step_back(end: Checkpoint) -> tuple[int, Checkpoint | None]:
    """Return whether a message is a question, 0 or 1, and where the one before it ends."""
    return int(message_parts(end)[0].metadata.begins_turn), last_end(point_before(end))


def step_ahead(way: Redo[Checkpoint]) -> tuple[int, Redo[Checkpoint] | None]:
    """Return how many turns begin at the next step, 0 or 1, and where to continue counting."""
    notes, rest = way.checkpoint.metadata, way.rest
    is_piece = notes.cut and not (rest is not None and rest.checkpoint.metadata.continues)
    return int(notes.begins_turn and not is_piece), rest


def alternatives(
    workspace: Workspace[Checkpoint], end: Checkpoint, token: int, k: int
) -> list[TokenProbability]:
    """Return the alternatives to a token; see ``Chat.alternatives``."""
    part, index = token_place(end, token)
    k = check_integer("k", k, 1)
    if part.start + index == 0:
        raise ParameterError(
            "the very first token of a context has no alternatives, as nothing stands before it; "
            f"give another one than token={token}"
        )
    return likeliest(logits_in_front(workspace, part, index), k, workspace.context.model)
