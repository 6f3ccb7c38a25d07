"""The cell map as a message to another process: tables as JSON, arrays as bytes.

A message is a dict. Its values are JSON, except for arrays, which are ``bytes`` of little-endian
numbers: ipywidgets sends those as binary buffers. A whole message has all of these keys, a change
leaves out what stays as it is and what is empty:

=================== ================================================================================
``whole``           True: forget all that was received before, the tables included
``n_ctx``, ``n_used``, ``memory``, ``window``, ``keeps_states``
                    as of ``CellMap``; of these a change has ``n_used`` alone
``first_text``      index of the first of ``texts`` in the table of tokens; it stays for good
``texts``           entries of that table from there on: the text of each token
``token_ids``       int32, their ids
``first_name``, ``names``
                    the same for the table of roles
``places``          what place 0, 1, 2, 3 is called
``gone``            numbers of strips that are no more; their numbers are not used again
``lanes``           int32 (n, 2): number and lane of each strip whose lane is new
``strips``          ids of the strips in this message, those that are new or have changed
``rows``            int32 (n, 10), for each of them in that order: number; number of the parent or
                    -1; start; n_tokens; n_kept; n_active; n_checkpoints_kept; and how many
                    entries it has in ``checkpoints``, ``role_runs``, ``place_runs``
``tokens``          uint32, indices in the table of tokens
``probabilities``   float32, as many; NaN for a token that was given
``checkpoints``     ids
``stops``           int32, as many: the position behind each checkpoint's last token
``bytes``           float64, as many: what each checkpoint keeps
``role_runs``       int32 (n, 2): where a run stops, counted from the strip's start; index of a role
``place_runs``      int32 (n, 2): the same with the index of a place
``again``           int32 (n, 3): number of one of these strips; from and up to where its tokens
                    were evaluated again
=================== ================================================================================

Of a strip that was received before, the first ``n_kept`` tokens stay, with their probabilities and
roles, and the first ``n_checkpoints_kept`` checkpoints; arrays hold what follows. Places and
``again`` come as a whole: they change without the tokens. A change may repeat what a whole message
has already. A parent is received before or with its children. In order, strips are what a walk from
the root meets, of siblings the one with the lower lane first.

A message costs 8 bytes for each token that is new, some 30 for each checkpoint, and 8 for each run;
one that tells of a single token takes about 120.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["PLACES", "Packed", "Runs", "Tables", "pack"]

PLACES = ("context", "memory", "disk", "dropped")

_CHANGING = {"n_used"}  # of the facts
_ALWAYS = {"rows", "strips", "tokens"}

Runs = tuple[tuple[int, str], ...]
"""The same value for several tokens in a row: where each run stops, and the value."""

Tokens = npt.NDArray[np.int32]
Probabilities = npt.NDArray[np.float32]


@dataclass(slots=True)
class Packed:
    """One strip of a message; see the module for what its parts are.

    Attributes
    ----------
    tokens : ndarray of int32
        Ids of all its tokens.
    probabilities : ndarray of float32
    checkpoints : sequence of (str, int)
    checkpoint_bytes : sequence of float
    roles, places : tuple of (int, str)
        Of all its tokens.
    again : tuple of (int, int)
        Positions of tokens that were evaluated again, each from the first to behind the last.
    """

    number: int
    id: str
    parent: int | None
    start: int
    n_active: int
    tokens: Tokens
    probabilities: Probabilities
    checkpoints: Sequence[tuple[str, int]]
    checkpoint_bytes: Sequence[float]
    roles: Runs
    places: Runs
    again: tuple[tuple[int, int], ...] = ()
    n_kept: int = 0
    n_checkpoints_kept: int = 0


class Tables:
    """The tables of a receiver: what has which index."""

    def __init__(self) -> None:
        self.tokens: dict[int, int] = {}
        self.names: dict[str, int] = {}

    def add(self, strips: Sequence[Packed]) -> None:
        """Give an index to what is new in strips."""
        for strip in strips:
            for token in np.unique(strip.tokens[strip.n_kept :]).tolist():
                self.tokens.setdefault(token, len(self.tokens))
            for _, name in strip.roles:
                self.names.setdefault(name, len(self.names))


def pack(
    facts: Mapping[str, Any],
    strips: Sequence[Packed],
    lanes: Sequence[tuple[int, int]],
    text_of: Callable[[int], str],
    *,
    tables: Tables,
    gone: Sequence[int] = (),
    is_whole: bool,
) -> dict[str, Any]:
    """Return a message.

    Parameters
    ----------
    facts : mapping
        ``n_ctx`` and the like.
    strips : sequence of Packed
        New and changed ones.
    lanes : sequence of (int, int)
        Numbers of strips with their lanes, where these are new.
    text_of : callable
        Gives the text of a token.
    tables : Tables
        What the receiver has, unless the message is a whole one; it will have what is sent.
    gone : sequence of int
    is_whole : bool
    """
    first_text, first_name = (0, 0) if is_whole else (len(tables.tokens), len(tables.names))
    tables.add(strips)
    new = [*tables.tokens][first_text:]
    rows, runs, places = list[int](), list[int](), list[int]()
    checkpoints, n_bytes = list[tuple[str, int]](), list[float]()
    for strip in strips:
        own = strip.n_checkpoints_kept
        later = [run for run in strip.roles if run[0] > strip.n_kept]
        rows += [strip.number, -1 if strip.parent is None else strip.parent, strip.start]
        rows += [len(strip.tokens), strip.n_kept, strip.n_active, own]
        rows += [len(strip.checkpoints) - own, len(later), len(strip.places)]
        checkpoints += strip.checkpoints[own:]
        n_bytes += strip.checkpoint_bytes[own:]
        runs += [n for stop, name in later for n in (stop, tables.names[name])]
        places += [n for stop, place in strip.places for n in (stop, PLACES.index(place))]
    message = {
        "whole": is_whole,
        **facts,
        "first_text": first_text,
        "texts": [text_of(token) for token in new],
        "token_ids": _bytes(new, "<i4"),
        "first_name": first_name,
        "names": [*tables.names][first_name:],
        "places": list(PLACES),
        "gone": list(gone),
        "lanes": _bytes([n for pair in lanes for n in pair], "<i4"),
        "strips": [strip.id for strip in strips],
        "rows": _bytes(rows, "<i4"),
        "tokens": _bytes(_indices(strips, tables), "<u4"),
        "probabilities": _bytes(_joined([s.probabilities[s.n_kept :] for s in strips]), "<f4"),
        "checkpoints": [identifier for identifier, _ in checkpoints],
        "stops": _bytes([stop for _, stop in checkpoints], "<i4"),
        "bytes": _bytes(n_bytes, "<f8"),
        "role_runs": _bytes(runs, "<i4"),
        "place_runs": _bytes(places, "<i4"),
        "again": _bytes([n for s in strips for span in s.again for n in (s.number, *span)], "<i4"),
    }
    return message if is_whole else _without_the_known(message, facts)


def _without_the_known(message: dict[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """A change without what a receiver has, and without what is empty."""
    known = {*facts, "places"} - _CHANGING
    known |= {"first_text"} if not message["texts"] else set()
    known |= {"first_name"} if not message["names"] else set()
    empty = {name for name, value in message.items() if value in (b"", [])} - _ALWAYS
    return {name: value for name, value in message.items() if name not in known | empty}


def _indices(strips: Sequence[Packed], tables: Tables) -> npt.NDArray[Any]:
    """Tokens by their index in the table."""
    tokens = _joined([strip.tokens[strip.n_kept :] for strip in strips])
    distinct, which = np.unique(tokens, return_inverse=True)
    indices = np.array([tables.tokens[token] for token in distinct.tolist()], np.uint32)
    return indices[which]


def _joined(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int32)


def _bytes(values: Any, kind: str) -> bytes:
    return np.asarray(values, kind).tobytes()
