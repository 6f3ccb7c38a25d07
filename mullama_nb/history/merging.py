"""Merging two trees with a common origin: the additions of one become branches of the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping
from typing import Any

from ..engine.context import Context
from ..sessions.entries import Entry, SavedChat
from ..sessions.states import check_rows
from ..sessions.store import SessionStore
from ..sessions.versions import Place
from ..state.segment import Segment
from .kv_rows import LentRows
from .node import Node
from .saving import Image
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["merged", "reader"]


def merged(
    workspace: Workspace[Checkpoint],
    place: Place,
    saved: SavedChat,
    read: Callable[[str], Segment],
) -> Image:
    """Add the checkpoints and tags of a saved chat that a tree lacks.

    An id follows from the place in its tree, so two processes give the same id to different
    answers. Equal checkpoints are found by their contents; all others get the next ordinal.

    Parameters
    ----------
    workspace : Workspace
        Its head does not move.
    place : Place
        The version that was read.
    saved : SavedChat
    read : callable
        Returns the rows at an address.

    Returns
    -------
    Image
        The contents of the version, by the ids of its checkpoints in this tree.
    """
    graph = workspace.graph
    twins, new = {0: graph.root}, list[Checkpoint]()
    count, taken = graph.changes.count, {graph.root.id}
    for entry in saved.entries:
        if entry.parent is None:
            continue
        parent = twins[entry.parent]
        twin = next((c for c in parent.children if c.id not in taken and _same(c, entry)), None)
        if twin is None:
            rows = LentRows(entry.address, entry.n_bytes, read)
            tokens, logprobs = tuple(entry.tokens), tuple(entry.logprobs)
            twin = workspace.graft(parent, tokens, entry.metadata, logprobs, rows)
            twin.rows_exact = entry.exact
            new.append(twin)
        taken.add(twin.id)
        twins[entry.number] = twin
    now = {entry.id: twins[entry.number].id for entry in saved.entries}
    for twin in new:
        twin.metadata.rename_places(now)
    for tag, number in saved.places["tags"].items():
        if graph.tags.get(tag) is not twins[number]:
            workspace.tag(_free(tag, graph.tags), twins[number])
    entries = {
        twins[entry.number].id: (entry.number, saved.digests[entry.number])
        for entry in saved.entries
    }
    return Image(place, count, entries, sum(saved.digests.values()), 1 + max(saved.digests))


def _same(checkpoint: Node, entry: Entry) -> bool:
    """Whether a checkpoint is the one that was saved."""
    known = checkpoint.address is not None and entry.address is not None
    return (
        checkpoint.tokens == tuple(entry.tokens)
        and (not known or checkpoint.address == entry.address)
        and _as_saved(checkpoint.metadata) == _as_saved(entry.metadata)
    )


def _as_saved(notes: Mapping[str, Any]) -> str:
    return json.dumps(dict(notes), sort_keys=True)  # where a tuple is a list


def _free(tag: str, taken: Container[str]) -> str:
    """A tag like one that may be on something else here."""
    found, n = tag, 1
    while found in taken:
        n += 1
        found = f"{tag}-{n}"
    return found


def reader(context: Context, store: SessionStore | None) -> Callable[[str], Segment]:
    """Return a function that reads a store's rows for a tree, with the checks of its context."""

    def read(address: str) -> Segment:
        assert store is not None
        return check_rows(store.segment(address), context)

    return read
