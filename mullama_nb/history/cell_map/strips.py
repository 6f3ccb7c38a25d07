"""What lies in the cells of a context, and outside of it, as a value: strips of tokens."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...signs import signs
from ...size import size
from ...tables import LEFT, RIGHT, html_table
from .message import PLACES, Packed, Runs, Tables, pack

__all__ = ["Cell", "CellMap", "Strip"]

_MOST_ROWS = 200

_IN_WORDS = {
    "context": "in the context",
    "memory": "in memory",
    "disk": "on disk",
    "dropped": "dropped",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One token of a strip.

    Attributes
    ----------
    position : int
    token : int
    text : str
        With control tokens written out; bytes that are no whole character are U+FFFD.
    role : str
        Whose text it is: ``"system"``, ``"user"``, ``"assistant"``, ``"tool"`` or another role of
        the chat template; ``"template"`` for what the template writes itself; ``"text"`` where it
        belongs to no message, or not yet.
    place : {"context", "memory", "disk", "dropped"}
        Where its row is: in a cell of the live context, outside of it, or nowhere.
    probability : float or None
        The model's own, of a token that it generated; None if it was given.
    n_bytes : float
        Its share of what its checkpoint keeps; 0 while it has none.
    """

    position: int
    token: int
    text: str
    role: str
    place: str
    probability: float | None
    n_bytes: float


@dataclass(frozen=True, slots=True)
class Strip:
    """A stretch of tokens without a fork inside; the first one begins where its parent ends.

    Attributes
    ----------
    id : str
        The id of its first checkpoint, or ``"~0"`` and so on for answers that are being explored.
    parent : int or None
        Index of the strip that it goes on from; None at the root.
    start : int
        Position of its first token.
    tokens : tuple of int
    checkpoints : tuple of (str, int)
        Ids, each with the position behind its last token. Tokens behind the last one are not
        committed yet.
    lane : int
        Its row in a drawing: the first branch goes on in its parent's lane, each other one has
        lanes of its own below those of its elder siblings. So there is a lane for every leaf.
    n_active : int
        How many of its tokens the live context holds, from its start on.
    texts : tuple of str
        Of each token.
    roles, places : tuple of (int, str)
        Runs: the index in ``tokens`` where each stops, and its value.
    probabilities : tuple of float or None
        Of each token.
    checkpoint_bytes : tuple of int
        What each checkpoint keeps.
    keeps_states : bool
        Whether that is a whole state at its last token, and not a row for each token.
    again : tuple of (int, int)
        Positions, begin and end, of tokens that had been evaluated before, elsewhere: the chat
        template rewrote what stands in front of them.
    """

    id: str
    parent: int | None
    start: int
    tokens: tuple[int, ...]
    checkpoints: tuple[tuple[str, int], ...]
    lane: int
    n_active: int
    texts: tuple[str, ...]
    roles: Runs
    places: Runs
    probabilities: tuple[float | None, ...]
    checkpoint_bytes: tuple[int, ...]
    keeps_states: bool = False
    again: tuple[tuple[int, int], ...] = ()

    @property
    def stop(self) -> int:
        """The position behind its last token."""
        return self.start + len(self.tokens)

    @property
    def is_active(self) -> bool:
        """Whether the live context holds some of it."""
        return self.n_active > 0

    @property
    def cells(self) -> list[Cell]:
        """Its tokens one by one."""
        return [
            Cell(self.start + i, *values)
            for i, values in enumerate(
                zip(
                    self.tokens,
                    self.texts,
                    _spread(self.roles),
                    _spread(self.places),
                    self.probabilities,
                    self._bytes(),
                    strict=True,
                )
            )
        ]

    def _bytes(self) -> Iterator[float]:
        """The bytes of each token."""
        start = self.start
        for (_, stop), n_bytes in zip(self.checkpoints, self.checkpoint_bytes, strict=True):
            n = stop - start
            if self.keeps_states and n:
                yield from itertools.repeat(0.0, n - 1)
                yield float(n_bytes)
            else:
                yield from itertools.repeat(n_bytes / n if n else 0.0, n)
            start = stop
        yield from itertools.repeat(0.0, self.stop - start)

    def packed(self, number: int) -> Packed:
        """Return it as a part of a message, in which it has a number."""
        nan = float("nan")
        return Packed(
            number,
            self.id,
            self.parent,
            self.start,
            self.n_active,
            np.array(self.tokens, np.int32),
            np.array([nan if p is None else p for p in self.probabilities], np.float32),
            self.checkpoints,
            self.checkpoint_bytes,
            self.roles,
            self.places,
            self.again,
        )

    def __repr__(self) -> str:
        n = len(self.checkpoints)
        said = [f"tokens {self.start} to {self.stop}", f"{n} checkpoint{'s' * (n != 1)}"]
        if self.is_active:
            said.append(f"{self.n_active} in the context")
        return f"Strip({self.id[:7]}, {', '.join(said)})"

    def _repr_html_(self) -> str:
        rows = [
            (str(cell.position), signs(cell.text), cell.role, cell.place, _percent(cell))
            for cell in self.cells[:_MOST_ROWS]
        ]
        if len(self.tokens) > _MOST_ROWS:
            rows.append(("…", f"{len(self.tokens) - _MOST_ROWS:,} more", "", "", ""))
        heads = ("position", "text", "role", "place", "probability")
        return html_table(rows, heads, styles=(RIGHT, LEFT, LEFT, LEFT, RIGHT), caption=repr(self))


def _percent(cell: Cell) -> str:
    return "" if cell.probability is None else f"{100 * cell.probability:.1f} %"


@dataclass(frozen=True, slots=True)
class CellMap:
    """Which token lies in which cell, what branches share, and what is kept outside the context.

    Attributes
    ----------
    n_ctx : int
        Cells of the context: the tokens that it can hold.
    n_used : int
        Those that are taken, by the active path and by answers that are being explored.
    memory : {"cells", "window", "state", "hybrid"}
        ``cells``: a row of keys and values for each token. ``window``: the same, but some layers
        read no more than the last ``window`` rows. ``state``: no cells at all, one state of fixed
        size stands for everything read so far. ``hybrid``: cells in some layers, a state in others.
    window : int
        Tokens that layers with a sliding window look back; 0 without such layers.
    keeps_states : bool
        Whether rows cannot be cut, so that each checkpoint keeps a whole state, at its last token.
    strips : tuple of Strip
        Parents before their children, siblings in their order.
    """

    n_ctx: int
    n_used: int
    memory: Literal["cells", "window", "state", "hybrid"]
    window: int
    keeps_states: bool
    strips: tuple[Strip, ...]

    @property
    def n_free(self) -> int:
        """Free cells."""
        return max(0, self.n_ctx - self.n_used)

    @property
    def n_tokens(self) -> int:
        """The tokens of all strips; what branches share counts once."""
        return sum(len(strip.tokens) for strip in self.strips)

    @property
    def window_start(self) -> int:
        """The first position that layers with a sliding window read for the next token; else 0."""
        n = sum(strip.n_active for strip in self.strips if not strip.id.startswith("~"))
        return max(0, n + 1 - self.window) if self.window else 0

    @property
    def active(self) -> list[Cell]:
        """The cells of the live context that hold the active path, in order of position."""
        path = [strip for strip in self.strips if strip.n_active and not strip.id.startswith("~")]
        return [cell for strip in path for cell in strip.cells[: strip.n_active]]

    def to_message(self) -> dict[str, Any]:
        """Return it for another process; see ``history/cell_map/message.py``."""
        texts: dict[int, str] = {}
        for strip in self.strips:
            texts.update(zip(strip.tokens, strip.texts, strict=True))
        packed = [strip.packed(number) for number, strip in enumerate(self.strips)]
        lanes = [(number, strip.lane) for number, strip in enumerate(self.strips)]
        names = ("n_ctx", "n_used", "memory", "window", "keeps_states")
        facts = {name: getattr(self, name) for name in names}
        return pack(facts, packed, lanes, texts.__getitem__, tables=Tables(), is_whole=True)

    def _sums(self) -> dict[str, tuple[int, float]]:
        """Tokens and bytes in each place."""
        sums = dict.fromkeys(PLACES, (0, 0.0))
        for strip in self.strips:
            for cell in strip.cells:
                n, n_bytes = sums[cell.place]
                sums[cell.place] = n + 1, n_bytes + cell.n_bytes
        return sums

    def __repr__(self) -> str:
        n = len(self.strips)
        what = "tokens in one state" if self.memory == "state" else "cells"
        return f"CellMap({self.n_used:,} of {self.n_ctx:,} {what}, {n} strip{'s' * (n != 1)})"

    def _repr_html_(self) -> str:
        rows = [
            (_IN_WORDS[place], f"{n:,}", size(n_bytes))
            for place, (n, n_bytes) in self._sums().items()
            if n
        ]
        rows.append(("free", f"{self.n_free:,}", ""))
        return html_table(
            rows, ("", "tokens", "kept"), styles=(LEFT, RIGHT, RIGHT), caption=repr(self)
        )


def _spread(runs: Runs) -> Iterator[str]:
    start = 0
    for stop, value in runs:
        yield from itertools.repeat(value, stop - start)
        start = stop
