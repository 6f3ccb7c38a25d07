"""Going elsewhere in a tree and back: for all to see, or for a look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from .events import AdaptersChanged, Moved
from .node import Node
from .paths import Redo
from .workspace import Away, Workspace

__all__ = ["look", "visit"]

N = TypeVar("N", bound=Node)


@contextmanager
def visit(workspace: Workspace[N], ref: N | str) -> Iterator[N]:
    """Check out a node for a ``with`` block, then return to the head.

    Parameters
    ----------
    workspace : Workspace
    ref : Node or str
    """
    graph, adapters = workspace.graph, workspace.adapters
    with workspace.turn():
        with workspace.changing() as home:
            redo, n_edits = graph.redo, graph.n_edits
            on, are_chosen = adapters.on, adapters.are_chosen
            target = workspace.resolve(ref)
            with workspace.going_back_on_error():
                workspace.go(target)
        try:
            yield target
        finally:
            with workspace.changing():
                if home in graph:
                    workspace.go(home, adapters=on)
                    adapters.switch(on)
                    adapters.are_chosen = are_chosen
                    if redo is not None and graph.n_edits != n_edits:
                        redo = Redo.of([node for node in redo if node in graph])
                    graph.redo = redo


@contextmanager
def look(workspace: Workspace[N], ref: N | str) -> Iterator[N]:
    """Visit a node for a ``with`` block, unseen.

    No event tells of the way there and back, and other threads find the head where it was.

    Parameters
    ----------
    workspace : Workspace
    ref : Node or str
    """
    with workspace.turn():
        with workspace.changing() as head:
            away = Away(head, workspace.adapters.on)
        is_within_another = workspace.away is not None
        try:
            if not is_within_another:
                workspace.away = away
            with visit(workspace, ref) as target:
                yield target
        finally:
            if not is_within_another:
                workspace.away = None
                _follow_if_lost(workspace, away)


def _follow_if_lost(workspace: Workspace[N], away: Away[N]) -> None:
    """Let the head follow, and tell of it, if the way back has failed."""
    head = workspace.graph.head
    if away.at is not head:
        workspace.graph.head = away.at
        workspace.notify(Moved(away.at.id, head.id))
    if workspace.adapters.on != away.adapters:
        workspace.notify(AdaptersChanged(away.at.id))
