"""Undo and redo: going back on a path, remembering the way, and forward on it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from .node import Node
from .paths import Redo
from .workspace import Workspace

__all__ = ["go_back", "redo", "undo"]

N = TypeVar("N", bound=Node)


def undo(workspace: Workspace[N], n: int) -> N:
    """Go back, remembering the way; see ``CheckpointTree.undo``."""
    with workspace.changing() as at:
        way: list[N] = []
        while len(way) < n and at.parent is not None:
            way.append(at)
            at = at.parent
        go_back(workspace, way, at)
        return at


def go_back(workspace: Workspace[N], way: Sequence[N], to: N) -> None:
    """Move to a node, and let :func:`redo` go the way back, given latest first."""
    adapters, graph = workspace.adapters, workspace.graph
    with workspace.changing():
        with workspace.going_back_on_error():
            are_chosen = adapters.are_chosen
            workspace.go(to, adapters=adapters.instead_of(way[-1]) if way else None)
            adapters.are_chosen = are_chosen
        for node in way:
            graph.redo = Redo(node, graph.redo)


def redo(workspace: Workspace[N], n: int) -> N:
    """Take back undo, at most ``n`` steps; return the head."""
    graph = workspace.graph
    with workspace.changing() as head:  # what is appended is a new branch, with nothing ahead
        way = graph.redo
        if way is None:
            return head
        for _ in range(min(n, way.n) - 1):
            assert way.rest is not None
            way = way.rest
        with workspace.going_back_on_error():
            workspace.go(way.checkpoint)
        graph.redo = way.rest
        return way.checkpoint
