"""Branching off inside a checkpoint: move to before a token, and choose another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ..checks import check_integer, is_integer
from ..errors import ParameterError
from .node import Node
from .workspace import Workspace

__all__ = ["fork", "fork_at"]

N = TypeVar("N", bound=Node)


def fork(
    workspace: Workspace[N],
    node: N,
    token: int | None,
    choose: str | int | None,
    notes: Mapping[str, Any],
) -> N:
    """Branch off before a node's token; see ``CheckpointTree.fork``."""
    with workspace.operation():
        position, chosen = _position(node, token), _chosen_tokens(workspace, choose)
        with workspace.going_back_on_error():
            point = node if token is None else workspace.cut_at(node, position)
            workspace.go(point, adapters=workspace.adapters.instead_of(node))
            logprobs = _evaluate(workspace, chosen)
        workspace.graph.redo = None
        return workspace.commit(notes, logprobs=logprobs) if chosen else point


def fork_at(workspace: Workspace[N], position: int) -> N:
    """Branch off after the first tokens of the current path; what adapters are on stay on."""
    with workspace.changing() as head:
        position = check_integer("position", position, 0, head.stop)
        point = workspace.cut_at(head, position)
        workspace.checkout(point, adapters=workspace.context.adapters)
        return point


def _position(node: Node, token: int | None) -> int:
    """Tokens in front of a node's token."""
    n = len(node.tokens)
    if token is None:
        return node.stop
    if not is_integer(token) or not -n <= token <= n:
        raise ParameterError(f"token={token!r} is not in the checkpoint, which has {n} tokens")
    token = int(token)
    return node.start + (token + n if token < 0 else token)


def _chosen_tokens(workspace: Workspace[N], choose: str | int | None) -> list[int]:
    model = workspace.context.model
    if choose is None:
        return []
    if isinstance(choose, str):
        tokens = model.tokenize(choose)
    else:
        is_token = is_integer(choose) and 0 <= choose < model.n_vocab
        tokens = [int(choose)] if is_token else []
    if not tokens:
        raise ParameterError(
            f"choose={choose!r} is not a token; give a text, or an id below {model.n_vocab}"
        )
    return tokens


def _evaluate(workspace: Workspace[N], tokens: Sequence[int]) -> list[float]:
    """Evaluate tokens as if they had been generated, one at a time; their logprobs."""
    logprobs: list[float] = []
    if tokens and workspace.context.token_count():
        logprobs += workspace.context.score(tokens).logprobs  # checks that there is room, too
    for token in tokens:
        workspace.evaluate([token])
    return logprobs
