"""Bringing two trees together that went on from one: what only one has is a branch of the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ..sessions.entries import Entry, SavedChat
from ..sessions.states import check_rows
from ..sessions.store import SessionStore
from ..sessions.versions import Place
from ..state.segment import Segment
from .checkpoint import Checkpoint
from .saving import Image
from .tree import CheckpointTree

__all__ = ["merged", "reader"]


def merged(
    tree: CheckpointTree, place: Place, saved: SavedChat, read: Callable[[str], Segment]
) -> Image:
    """Add the checkpoints and tags that a saved chat has and a tree has not.

    An id says where in its tree a checkpoint was made, so two processes give one id to different
    answers. What is the same is found by what it says, and all else gets the next ordinal.

    Parameters
    ----------
    tree : CheckpointTree
        Its head stays where it is.
    place : Place
        The version that was read.
    saved : SavedChat
    read : callable
        Gives the rows of an address.

    Returns
    -------
    Image
        What the version holds, by the ids that its checkpoints have in this tree.
    """
    twins, new = {0: tree.root}, list[tuple[Entry, Checkpoint]]()
    count, taken = tree.changes.count, {tree.root.id}
    for entry in saved.entries:
        if entry.parent is None:
            continue
        parent = twins[entry.parent]
        twin = next((c for c in parent.children if c.id not in taken and _same(c, entry)), None)
        if twin is None:
            twin = tree.graft(
                parent,
                tuple(entry.tokens),
                entry.metadata,
                entry.address,
                tuple(entry.logprobs),
                entry.n_bytes,
                read,
            )
            twin.rows_exact = entry.exact
            new.append((entry, twin))
        taken.add(twin.id)
        twins[entry.number] = twin
    now = {entry.id: twins[entry.number].id for entry in saved.entries}
    for _, twin in new:
        if twin.metadata.get("came_from") in now:
            twin.metadata["came_from"] = now[twin.metadata["came_from"]]
    for tag, number in saved.places["tags"].items():
        if tree.tags.get(tag) is not twins[number]:
            tree.tag(_free(tag, tree), twins[number])
    rows = {
        twins[entry.number].id: (entry.number, saved.digests[entry.number])
        for entry in saved.entries
    }
    return Image(place, count, rows, sum(saved.digests.values()), 1 + max(saved.digests))


def _same(checkpoint: Checkpoint, entry: Entry) -> bool:
    """Whether a checkpoint is the one that was saved."""
    known = checkpoint.address is not None and entry.address is not None
    return (
        checkpoint.tokens == tuple(entry.tokens)
        and (not known or checkpoint.address == entry.address)
        and _as_saved(checkpoint.metadata) == _as_saved(entry.metadata)
    )


def _as_saved(notes: Mapping[str, Any]) -> str:
    return json.dumps(dict(notes), sort_keys=True)  # where a tuple is a list


def _free(tag: str, tree: CheckpointTree) -> str:
    """A tag like one that may be on something else here."""
    found, n = tag, 1
    while found in tree.tags:
        n += 1
        found = f"{tag}-{n}"
    return found


def reader(tree: CheckpointTree, store: SessionStore | None) -> Callable[[str], Segment]:
    """What reads rows of a store for a tree, with the checks that its context needs."""
    context = tree.context

    def read(address: str) -> Segment:
        assert store is not None
        return check_rows(store.segment(address), context)

    return read
