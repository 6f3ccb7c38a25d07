"""Checking ids, which follow from places in the tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..history.node import ROOT_ID, identifier
from .walk import Entry

__all__ = ["misplaced"]

_MOST = 2**20  # ids and ancestors that are tried for one file; pruned siblings count, too


def misplaced(entries: Sequence[Entry]) -> Entry | None:
    """Return the first entry whose id does not follow from its parent's.

    Parameters
    ----------
    entries : sequence of Entry
        Parents first.

    Returns
    -------
    Entry or None
        None if all ids are right. The first part of a split checkpoint is named after the rest of
        it, which may be gone, and is not checked.
    """
    by_id = {entry.id: entry for entry in entries}
    children: dict[str, set[str]] = {}
    left = _MOST + 2 * len(entries)
    for entry in entries:
        if entry.noted.cut:
            continue
        parents = [*_parents(entry, by_id)]
        left -= len(parents)
        while not any(entry.id in children.setdefault(parent, set()) for parent in parents):
            for parent in parents:
                children[parent].add(identifier(parent, len(children[parent])))
            left -= len(parents)
            if left < 0:
                return entry
    return None


def _parents(entry: Entry, by_id: dict[str, Entry]) -> Iterator[str]:
    """The parent, and what it had been before beginnings were cut off."""
    at = entry.parent
    while at is not None:
        yield at
        if not by_id[at].noted.cut:
            return
        at = by_id[at].parent
    yield ROOT_ID
