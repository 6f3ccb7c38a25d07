"""Entries of one name in a store elsewhere, and which follows which.

An entry is an object that is written once and never changed or removed. Its file name holds the
digest of its contents and the ids of the entries that it follows, as a commit names its parents,
and its id is a digest of that file name. So a listing alone tells the whole history, nobody can
change a part of it unnoticed, and two that are written at the same time are both kept: they are two
heads, as of two branches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from blake3 import blake3

from ...cached import cached

__all__ = ["MOST_FOLLOWED", "EntryName", "Lineage", "content_digest"]

MOST_FOLLOWED = 6  # for file names of at most 255 bytes
_FILE = re.compile(rf"([0-9a-f]{{32}})((?:\.[0-9a-f]{{32}}){{0,{MOST_FOLLOWED}}})\.json")


def content_digest(data: bytes) -> str:
    """Return the digest of an entry's contents."""
    return str(blake3(data).hexdigest(length=16))


@dataclass(frozen=True)
class EntryName:
    """The name of an entry.

    Attributes
    ----------
    content : str
        Digest of its contents.
    follows : tuple of str
        Ids of the entries that it follows, sorted.
    """

    content: str
    follows: tuple[str, ...] = ()

    @classmethod
    def parse(cls, file: str) -> EntryName | None:
        """Return the entry of a file name; None if it is the name of no entry."""
        found = _FILE.fullmatch(file)
        if found is None:
            return None
        follows = tuple(found[2].split(".")[1:])
        return cls(found[1], follows) if follows == tuple(sorted({*follows})) else None

    @cached
    def file(self) -> str:
        """The file name."""
        return f"{'.'.join((self.content, *self.follows))}.json"

    @cached
    def id(self) -> str:
        """The id, which covers everything before it, too."""
        return str(blake3(f"mullama-entry-1 {self.file}".encode()).hexdigest(length=16))


class Lineage:
    """The entries of one name.

    Parameters
    ----------
    entries : iterable of EntryName

    Attributes
    ----------
    entries : dict
        By id.
    """

    def __init__(self, entries: Iterable[EntryName] = ()) -> None:
        self.entries = {entry.id: entry for entry in entries}

    @property
    def heads(self) -> list[EntryName]:
        """The entries that no other follows, by id: one, unless some were written at once."""
        followed = {parent for entry in self.entries.values() for parent in entry.follows}
        return [self.entries[each] for each in sorted({*self.entries} - followed)]

    def with_content(self, content: str) -> set[str]:
        """Return the ids of the entries with these contents."""
        return {entry.id for entry in self.entries.values() if entry.content == content}

    def leads_to(self, entries: Iterable[str], head: EntryName) -> bool:
        """Return whether an entry is one of some, or follows one of them."""
        wanted, seen, left = {*entries}, set[str](), [head.id]
        while left:
            at = left.pop()
            if at in wanted:
                return True
            if at not in seen and at in self.entries:
                seen.add(at)
                left += self.entries[at].follows
        return False

    def next(self, content: str) -> list[EntryName]:
        """Return what to write, in order, for an entry that follows all heads.

        It is one entry unless there are more heads than one can follow.
        """
        heads, entries = [head.id for head in self.heads], list[EntryName]()
        while heads or not entries:
            follows, heads = heads[:MOST_FOLLOWED], heads[MOST_FOLLOWED:]
            entries.append(EntryName(content, tuple(sorted(follows))))
            if heads:
                heads = [*heads, entries[-1].id]
        return entries
