"""Which part of a recording a conversation follows, by its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...walk import Entry

__all__ = ["Way", "followed"]

_SHOWN = 8  # tokens of where two conversations part


@dataclass(frozen=True, slots=True)
class Way:
    """How far a recording holds a conversation.

    Attributes
    ----------
    entries : tuple of Entry
        On the way there, and all that follow; parents first.
    n_common : int
        Leading tokens that both have.
    parted : (tuple of int, tuple of int) or None
        The next tokens of the recording and of the conversation, where what was asked is not the
        same. An answer in between may be another: that is judged, and not known beforehand.
    """

    entries: tuple[Entry, ...]
    n_common: int
    parted: tuple[tuple[int, ...], tuple[int, ...]] | None = None


def followed(entries: Sequence[Entry], tokens: Sequence[int]) -> Way:
    """Return the part of a recording that a conversation follows.

    Parameters
    ----------
    entries : sequence of Entry
        Parents first.
    tokens : sequence of int
        Of the conversation, up to where it is answered.
    """
    n_tokens = len(tokens)
    stops: dict[str | None, int] = {None: 0}  # of the entries whose tokens are all the same
    furthest, parted = 0, list[Entry]()  # the entries within which it goes on otherwise
    ends: list[Entry] = []
    for entry in entries:
        start = stops.get(entry.parent)
        if start is None or start >= n_tokens:
            continue
        n = _n_common(entry.tokens, tokens[start : start + len(entry.tokens)])
        if start + n > furthest:
            furthest, parted = start + n, []
        if start + n == n_tokens:
            ends.append(entry)
        elif n == len(entry.tokens):
            stops[entry.id] = start + n
        elif start + n == furthest:
            parted.append(entry)
    if not ends:
        ends = [entry for entry in parted if entry.is_generated]
    if not ends:
        rest = parted[0].tokens[furthest - stops[parted[0].parent] :] if parted else ()
        return Way((), furthest, (rest[:_SHOWN], tuple(tokens[furthest:][:_SHOWN])))
    kept = {entry.id for end in ends for entry in _behind(end, entries)}
    by_id = {entry.id: entry for entry in entries}
    waiting = [*kept]
    while waiting:  # what they follow from, in the tree and in the conversation
        entry = by_id[waiting.pop()]
        before = {entry.parent, entry.noted.came_from} - kept
        found = [each for each in before if each in by_id]
        kept.update(found)
        waiting += found
    return Way(tuple(entry for entry in entries if entry.id in kept), furthest)


def _behind(end: Entry, entries: Sequence[Entry]) -> Iterator[Entry]:
    """Yield an entry and all that follow it."""
    found = {end.id}
    yield end
    for entry in entries:
        if entry.parent in found and entry.id not in found:
            found.add(entry.id)
            yield entry


def _n_common(a: Sequence[int], b: Sequence[int]) -> int:
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))
